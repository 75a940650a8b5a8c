/* str to UTF-8, for _speedups.c: the expensive part of frames.py.

As in _utf8.h, there is no branch for each character: the bytes of a group are computed at once,
which compilers vectorize. Four bytes are written for each character, and those of the next one
overwrite the unused ones. For the benchmarks' text a frame takes 0.7 of the time of CPython's
encoder and a copy with 256 bytes, 0.6 with 16 KiB; the same instructions with 64 bytes, and 0.9 of
them with 256. */

enum {
    GROUP = 32,  /* characters at a time: compilers would unroll 16, and not vectorize them */
    COUNTED = 4096,  /* characters at a time whose bytes are counted in 16 bits */
};

/* All bits set if `one` fits into so many bits, else none. */
#define WITHIN(bits, one) ((uint16_t)-((uint16_t)((one) >> (bits)) == 0))

/* The first two bytes of a character of two bytes, and of three; the first is the lower. */
#define START_OF_TWO(one) ((one) >> 6 | ((one) << 8 & 0x3F00) | 0x80C0)
#define START_OF_THREE(one) ((one) >> 12 | ((one) << 2 & 0x3F00) | 0x80E0)

/* Three functions for characters of one or two bytes each. encoded_size: their size in UTF-8, -1 if
there is a surrogate. encode_group: encodes a group and returns its end; up to three bytes
after it may be overwritten. encode: encodes all of them, writes nothing after the end, and returns
that. */
#define DEFINE_ENCODE(encoded_size, encode_group, encode, unit)                                    \
    static Py_ssize_t encoded_size(const unit *from, Py_ssize_t size)                              \
    {                                                                                              \
        Py_ssize_t all = 0;                                                                        \
        uint16_t surrogates = 0;                                                                   \
        for (Py_ssize_t start = 0; start < size; start += COUNTED) {                               \
            const Py_ssize_t count = size - start < COUNTED ? size - start : COUNTED;              \
            uint16_t bytes = 0;                                                                    \
            for (Py_ssize_t i = 0; i < count; i++) {                                               \
                const uint16_t one = from[start + i];                                              \
                bytes += (uint16_t)(3 + WITHIN(7, one) + WITHIN(11, one));                         \
                surrogates |= WITHIN(11, one ^ 0xD800);                                            \
            }                                                                                      \
            all += bytes;                                                                          \
        }                                                                                          \
        return surrogates ? -1 : all;                                                              \
    }                                                                                              \
                                                                                                   \
    static inline char *encode_group(char *restrict to, const unit *restrict from)                 \
    {                                                                                              \
        unit any = 0;                                                                              \
        for (int i = 0; i < GROUP; i++) {                                                          \
            any |= from[i];                                                                        \
        }                                                                                          \
        if (any < 0x80) {                                                                          \
            for (int i = 0; i < GROUP; i++) {                                                      \
                to[i] = (char)from[i];                                                             \
            }                                                                                      \
            return to + GROUP;                                                                     \
        }                                                                                          \
        uint32_t bytes[GROUP];                                                                     \
        uint16_t lengths[GROUP];                                                                   \
        for (int i = 0; i < GROUP; i++) {                                                          \
            const uint16_t one = from[i];                                                          \
            const uint16_t ascii = WITHIN(7, one), two = WITHIN(11, one);                          \
            const uint16_t start = (uint16_t)((ascii & one) | (~ascii & two & START_OF_TWO(one)) | \
                                              (~two & START_OF_THREE(one)));                       \
            const uint16_t third = (uint16_t)((one & 0x3F) | 0x80);                                \
            bytes[i] = start | (uint32_t)third << 16;                                              \
            lengths[i] = (uint16_t)(3 + ascii + two);                                              \
        }                                                                                          \
        for (int i = 0; i < GROUP; i += 4) {                                                       \
            for (int j = i; j < i + 4; j++) {                                                      \
                to[0] = (char)bytes[j];                                                            \
                to[1] = (char)(bytes[j] >> 8);                                                     \
                to[2] = (char)(bytes[j] >> 16);                                                    \
                to[3] = (char)(bytes[j] >> 24); /* 0: all four bytes become one write */           \
                to += lengths[j];                                                                  \
            }                                                                                      \
        }                                                                                          \
        return to;                                                                                 \
    }                                                                                              \
                                                                                                   \
    static char *encode(char *to, const unit *from, Py_ssize_t size)                               \
    {                                                                                              \
        while (size >= GROUP + 3) { /* space for what a group writes after its end */             \
            to = encode_group(to, from);                                                           \
            from += GROUP;                                                                         \
            size -= GROUP;                                                                         \
        }                                                                                          \
        unit last[2 * GROUP] = {0};                                                                \
        char bytes[3 * 2 * GROUP + 1];                                                             \
        memcpy(last, from, (size_t)size * sizeof(unit));                                           \
        char *end = encode_group(bytes, last);                                                     \
        if (size > GROUP) {                                                                        \
            end = encode_group(end, last + GROUP);                                                 \
            size -= GROUP;                                                                         \
        }                                                                                          \
        const Py_ssize_t left = end - (GROUP - size) - bytes;                                      \
        memcpy(to, bytes, (size_t)left);                                                           \
        return to + left;                                                                          \
    }

DEFINE_ENCODE(encoded_size_1, encode_group_1, encode_1, Py_UCS1)
DEFINE_ENCODE(encoded_size_2, encode_group_2, encode_2, Py_UCS2)

static int
has_surrogates(const Py_UCS2 *from, Py_ssize_t size)
{
    uint16_t found = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        found |= WITHIN(11, from[i] ^ 0xD800);
    }
    return found != 0;
}
