/* UTF-8 to str, for _speedups.c: the expensive part of utf8.py.

CPython decodes one character after another, and where ASCII and other characters alternate, the
processor mispredicts each change. Here such text is decoded in blocks without branches, by
comparing and shifting neighbouring bytes, which compilers vectorize. If a seventh of the characters
is not ASCII, that takes 0.4 of CPython's time, from 1 KiB to 1 MiB. */

/* The bits of a word that are never set in ASCII. */
#define NON_ASCII UINT64_C(0x8080808080808080)

enum {
    BLOCK = 128,  /* bytes at a time: 0.5 of CPython's time with 64 */
    SHORTEST = 512,  /* bytes from which on blocks are used: 0.8 of CPython's time for 256 */
    TURN = 16,  /* bytes for each change from or to ASCII: then both take the same time */
};

static int
is_ascii(const uint8_t *from, Py_ssize_t size)
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

/* The size without an incomplete code point at the end. */
static Py_ssize_t
without_begun(const uint8_t *from, Py_ssize_t size)
{
    for (Py_ssize_t back = 1; back <= 3 && back <= size; back++) {
        const uint8_t byte = from[size - back];
        if (byte >= 0xC0) {
            return back < 2 + (byte >= 0xE0) + (byte >= 0xF0) ? size - back : size;
        }
    }
    return size;
}

/* All bits set or none, as SIMD comparisons return them. FROM compares unsigned bytes as signed
ones, for which alone SIMD has an instruction. */
#define MASK(condition) ((uint8_t)-(condition))
#define FROM(least, byte) MASK((int8_t)((byte) ^ 0x80) >= (int8_t)((least) ^ 0x80))
#define CONTINUES(byte) MASK((int8_t)(byte) < (int8_t)0xC0)

/* A block with the three bytes before it and the one after it. */
typedef struct {
    uint8_t bytes[3 + BLOCK + 1];
} Window;

/* The block at `start`: in place, or copied to `window`, with zeros, at either end of the text. */
static inline const uint8_t *
block_at(Window *window, const uint8_t *from, Py_ssize_t size, Py_ssize_t start)
{
    const Py_ssize_t before = start ? 3 : 0;
    if (before && size - start > BLOCK) {
        return from + start;
    }
    const Py_ssize_t left = size - start > BLOCK ? BLOCK + 1 : size - start;
    memset(window, 0, sizeof(*window));
    memcpy(window->bytes + 3 - before, from + start - before, (size_t)(before + left));
    return window->bytes + 3;
}

/* The number of changes from ASCII to other characters and back. */
static Py_ssize_t
turns(const uint8_t *from, Py_ssize_t size)
{
    Py_ssize_t all = 0;
    for (Py_ssize_t start = 1; start <= size - BLOCK; start += BLOCK) {
        uint8_t count = 0;
        for (int i = 0; i < BLOCK; i++) {
            count -= MASK((int8_t)(from[start + i] ^ from[start + i - 1]) < 0);
        }
        all += count;
    }
    return all;
}

/* Whether all of it is valid UTF-8 (RFC 3629 section 4). Sets the number of `characters`, and the
`widest` first byte of one. */
static int
measured(const uint8_t *from, Py_ssize_t size, Py_ssize_t *characters, uint8_t *widest)
{
    Window window;
    uint8_t wrong = 0, top = 0;
    Py_ssize_t continuations = 0;
    for (Py_ssize_t start = 0; start < size; start += BLOCK) {
        const uint8_t *const block = block_at(&window, from, size, start);
        uint8_t count = 0;
        for (int i = 0; i < BLOCK; i++) {
            const uint8_t byte = block[i], last = block[i - 1];
            const uint8_t continues = CONTINUES(byte);
            const uint8_t wanted =
                FROM(0xC0, last) | FROM(0xE0, block[i - 2]) | FROM(0xF0, block[i - 3]);
            wrong |= (continues ^ wanted) | MASK((byte & 0xFE) == 0xC0) | FROM(0xF5, byte) |
                     (MASK(last == 0xE0) & ~FROM(0xA0, byte)) |
                     (MASK(last == 0xED) & FROM(0xA0, byte)) |
                     (MASK(last == 0xF0) & ~FROM(0x90, byte)) |
                     (MASK(last == 0xF4) & FROM(0x90, byte));
            count -= continues;
            top = byte > top ? byte : top;
        }
        continuations += count;
    }
    *characters = size - continuations;
    *widest = top;
    return !wrong && without_begun(from, size) == size;
}

/* Decode valid UTF-8 to characters of one, two or four bytes each. */
#define DEFINE_FILL(fill, unit)                                                                    \
    static void fill(unit *to, const uint8_t *from, Py_ssize_t size)                               \
    {                                                                                              \
        Window window;                                                                             \
        for (Py_ssize_t start = 0; start < size; start += BLOCK) {                                 \
            const Py_ssize_t count = size - start < BLOCK ? size - start : BLOCK;                  \
            const uint8_t *const block = block_at(&window, from, size, start);                     \
            /* The character that would end at each byte, and whether one does. */                 \
            unit ending[BLOCK];                                                                    \
            uint8_t ends[BLOCK];                                                                   \
            for (int i = 0; i < BLOCK; i++) {                                                      \
                const uint8_t one = CONTINUES(block[i]);                                           \
                const uint8_t two = one & CONTINUES(block[i - 1]);                                 \
                const uint8_t three = two & CONTINUES(block[i - 2]);                               \
                Py_UCS4 value = block[i] & (0xFF ^ (one & 0xC0));                                  \
                value |= (Py_UCS4)(one & block[i - 1] & 0x3F) << 6;                                \
                if (sizeof(unit) > 1) {                                                            \
                    const uint8_t bits = 0x3F ^ (FROM(0xE0, block[i - 2]) & 0x30);                 \
                    value |= (Py_UCS4)(two & block[i - 2] & bits) << 12;                           \
                }                                                                                  \
                if (sizeof(unit) > 2) {                                                            \
                    value |= (Py_UCS4)(three & block[i - 3] & 0x07) << 18;                         \
                }                                                                                  \
                ending[i] = (unit)value;                                                           \
            }                                                                                      \
            for (int i = 0; i < BLOCK; i++) {                                                      \
                ends[i] = 1 + CONTINUES(block[i + 1]);                                             \
            }                                                                                      \
            for (Py_ssize_t i = 0; i < count; i++) {                                               \
                *to = ending[i];                                                                   \
                to += ends[i];                                                                     \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE_FILL(fill_1, Py_UCS1)
DEFINE_FILL(fill_2, Py_UCS2)
DEFINE_FILL(fill_4, Py_UCS4)

/* Decode up to an incomplete code point at the end, and set `used`; NULL makes that an error. */
static PyObject *
decoded(const char *bytes, Py_ssize_t size, Py_ssize_t *used)
{
    const uint8_t *const from = (const uint8_t *)bytes;
    if (is_ascii(from, size)) {
        PyObject *text = PyUnicode_New(size, 0x7F);
        if (text != NULL) {
            memcpy(PyUnicode_DATA(text), from, (size_t)size);
        }
        return text;
    }
    const Py_ssize_t whole = used == NULL ? size : without_begun(from, size);
    Py_ssize_t characters;
    uint8_t widest;
    if (size < SHORTEST || turns(from, whole) < whole / TURN ||
        !measured(from, whole, &characters, &widest)) {
        return PyUnicode_DecodeUTF8Stateful(bytes, size, "strict", used);
    }
    const Py_UCS4 most = widest >= 0xF0 ? 0x10FFFF : widest >= 0xC4 ? 0xFFFF : 0xFF;
    PyObject *text = PyUnicode_New(characters, widest < 0x80 ? 0x7F : most);
    if (text == NULL) {
        return NULL;
    }
    switch (PyUnicode_KIND(text)) {
    case PyUnicode_1BYTE_KIND:
        fill_1(PyUnicode_1BYTE_DATA(text), from, whole);
        break;
    case PyUnicode_2BYTE_KIND:
        fill_2(PyUnicode_2BYTE_DATA(text), from, whole);
        break;
    default:
        fill_4(PyUnicode_4BYTE_DATA(text), from, whole);
    }
    if (used != NULL) {
        *used = whole;
    }
    return text;
}
