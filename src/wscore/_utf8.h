/* UTF-8 to str, for _leaves.c: the part of utf8.py that takes the time. */

/* The bits of a word that no ASCII has. */
#define NON_ASCII UINT64_C(0x8080808080808080)

static int
is_ascii(const char *from, Py_ssize_t size)
{
    const Py_ssize_t words = size / 8;
    uint64_t bits = 0;
    for (Py_ssize_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, from + 8 * i, 8);
        bits |= word;
    }
    for (Py_ssize_t i = 8 * words; i < size; i++) {
        bits |= (uint64_t)(from[i] & 0x80);
    }
    return !(bits & NON_ASCII);
}

static int
continues(unsigned char byte)
{
    return (byte & 0xC0) == 0x80;
}

/* Decode into a str of this kind, up to the first byte that is wrong; returns how far it came.

As many characters are written as bytes were passed that continue none. */
static inline Py_ssize_t
fill(const int kind, void *restrict to, const unsigned char *restrict from, Py_ssize_t size)
{
    Py_ssize_t at = 0, length = 0;
    while (at < size) {
        const unsigned char *const next = from + at;
        const Py_ssize_t left = size - at;
        const Py_UCS4 lead = *next;
        Py_UCS4 character;
        if (lead < 0x80) {
            uint64_t word;
            while (size - at >= 8 && (memcpy(&word, from + at, 8), !(word & NON_ASCII))) {
                for (int i = 0; i < 8; i++) {
                    PyUnicode_WRITE(kind, to, length + i, from[at + i]);
                }
                at += 8;
                length += 8;
            }
            while (at < size && from[at] < 0x80) {
                PyUnicode_WRITE(kind, to, length, from[at]);
                at++;
                length++;
            }
            continue;
        }
        if (lead < 0xE0) {
            if (lead < 0xC2 || left < 2 || !continues(next[1])) {
                break;
            }
            character = (lead & 0x1F) << 6 | (next[1] & 0x3Fu);
            at += 2;
        }
        else if (lead < 0xF0) {
            if (left < 3 || !continues(next[1]) || !continues(next[2])) {
                break;
            }
            character = (lead & 0x0F) << 12 | (next[1] & 0x3Fu) << 6 | (next[2] & 0x3Fu);
            if (character < 0x800 || (character & 0xFFFFF800) == 0xD800) {
                break;
            }
            at += 3;
        }
        else {
            if (left < 4 || !continues(next[1]) || !continues(next[2]) || !continues(next[3])) {
                break;
            }
            character = (lead & 0x0F) << 18 | (next[1] & 0x3Fu) << 12 | (next[2] & 0x3Fu) << 6 |
                        (next[3] & 0x3Fu);
            if (lead > 0xF4 || character < 0x10000 || character > 0x10FFFF) {
                break;
            }
            at += 4;
        }
        PyUnicode_WRITE(kind, to, length, character);
        length++;
    }
    return at;
}

/* The str that is encoded here; NULL for an error, or, without an exception, where there is none.

Its size is counted first, where CPython's decoder widens and shrinks what it makes: 0.5 to 0.6 of
the time at 256 bytes of all but ASCII, 0.6 to 0.8 at 1 MiB (but 1.3 at 16 KiB of Cyrillic). */
static PyObject *
decoded(const char *bytes, Py_ssize_t size)
{
    if (is_ascii(bytes, size)) {
        PyObject *text = PyUnicode_New(size, 0x7F);
        if (text != NULL) {
            memcpy(PyUnicode_DATA(text), bytes, (size_t)size);
        }
        return text;
    }
    const unsigned char *const from = (const unsigned char *)bytes;
    unsigned char most = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        most = from[i] > most ? from[i] : most;
    }
    Py_ssize_t length = 0;
    for (Py_ssize_t i = 0; i < size;) { /* in blocks that a byte can count: SIMD */
        const Py_ssize_t stop = size - i < 128 ? size : i + 128;
        unsigned char some = 0;
        for (; i < stop; i++) {
            some = (unsigned char)(some + !continues(from[i]));
        }
        length += some;
    }
    /* The greatest lead byte says how wide the characters are. */
    PyObject *text = PyUnicode_New(length, most < 0xC4 ? 0xFF : most < 0xF0 ? 0xFFFF : 0x10FFFF);
    if (text == NULL) {
        return NULL;
    }
    void *const to = PyUnicode_DATA(text);
    const Py_ssize_t used = most < 0xC4   ? fill(PyUnicode_1BYTE_KIND, to, from, size)
                            : most < 0xF0 ? fill(PyUnicode_2BYTE_KIND, to, from, size)
                                          : fill(PyUnicode_4BYTE_KIND, to, from, size);
    if (used != size) {
        Py_CLEAR(text);
    }
    return text;
}

/* How many bytes at the end begin a code point that is longer than what is here. */
static Py_ssize_t
incomplete(const char *from, Py_ssize_t size)
{
    for (Py_ssize_t back = 1; back < 4 && back <= size; back++) {
        const unsigned char byte = (unsigned char)from[size - back];
        if (!continues(byte)) {
            const Py_ssize_t length = byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
            return length > back ? back : 0;
        }
    }
    return 0;
}
