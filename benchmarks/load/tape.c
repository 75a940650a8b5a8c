/* Frames to send, made once, so that sending costs only a system call. */
#include "load.h"

#include <stdlib.h>
#include <string.h>

/* A fixed seed: every server gets the same messages in every run. */
static uint64_t state = 0x9E3779B97F4A7C15;

static uint32_t random_number(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

void random_bytes(unsigned char *bytes, size_t size)
{
    for (size_t index = 0; index < size; index++)
        bytes[index] = (unsigned char)random_number();
}

/* One character in eight is not ASCII. */
static const char *const words[] = {
    "the",   "message", "Grüße",  "was",  "not",  "café",  "then", "order", "naïve", "5 €",
    "price", "日本",    "from",   "into", "who",  "über",  "with", "said",  "there", "Łódź",
    "time",  "people",  "señor",  "work", "year", "Ελλάς", "good", "first", "woman", "привет",
    "last",  "long",    "garçon", "own",  "see",  "–",     "over", "small", "large", "next",
};

void random_text(unsigned char *bytes, size_t size)
{
    size_t at = 0;
    while (at < size) {
        const char *word = words[random_number() % (sizeof words / sizeof *words)];
        size_t length = strlen(word);
        if (at + length + 1 > size) {
            memset(bytes + at, '.', size - at); /* no code point is cut */
            break;
        }
        memcpy(bytes + at, word, length);
        at += length;
        bytes[at++] = ' ';
    }
}

size_t frame_header(unsigned char *header, int first_byte, bool masked, uint64_t size)
{
    size_t length = size < 126 ? 0 : size < 65536 ? 2 : 8;
    header[0] = (unsigned char)first_byte;
    header[1] = (unsigned char)(masked << 7 | (length == 0 ? size : length == 2 ? 126 : 127));
    for (size_t index = 0; index < length; index++)
        header[2 + index] = (unsigned char)(size >> 8 * (length - 1 - index));
    return 2 + length;
}

void mask_copy(unsigned char *to, const unsigned char *from, size_t size,
               const unsigned char key[4])
{
    for (size_t index = 0; index < size; index++)
        to[index] = from[index] ^ key[index & 3];
}

/* Compress a message on its own, which a peer with context takeover accepts as well. Level 6 and a
 * window of 12 bits, whatever was negotiated. */
static size_t deflated(unsigned char *to, size_t space, unsigned char *from, size_t size)
{
    z_stream stream = {0};
    if (deflateInit2(&stream, 6, Z_DEFLATED, -12, 5, Z_DEFAULT_STRATEGY) != Z_OK)
        fail("zlib has no memory");
    stream.next_in = from;
    stream.avail_in = (uInt)size;
    stream.next_out = to;
    stream.avail_out = (uInt)space;
    deflate(&stream, Z_SYNC_FLUSH);
    if (stream.avail_in != 0 || stream.avail_out == 0)
        fail("a message does not fit when compressed");
    deflateEnd(&stream);
    return space - stream.avail_out - 4; /* RFC 7692 7.2.1: without 00 00 ff ff */
}

void tape_make(struct tape *tape, const struct settings *settings, int count)
{
    size_t size = settings->size, space = size + size / 100 + 64;
    unsigned char *payload = malloc(space), *at;

    tape->count = count;
    tape->size = size;
    tape->payloads = malloc((size_t)count * size + 1);
    tape->bytes = at = malloc((size_t)count * (space + 14));
    tape->starts = malloc(((size_t)count + 1) * sizeof *tape->starts);
    if (!payload || !tape->payloads || !tape->bytes || !tape->starts)
        fail("no memory for messages of %zu bytes", size);
    for (int index = 0; index < count; index++) {
        unsigned char *wanted = tape->payloads + (size_t)index * size, key[4];
        int first = 0x80 | settings->deflate << 6 | (settings->text ? 1 : 2);
        bool masked = !settings->listener;
        size_t length = size;
        (settings->text ? random_text : random_bytes)(wanted, size);
        random_bytes(key, 4);
        if (settings->deflate)
            length = deflated(payload, space, wanted, size);
        tape->starts[index] = (size_t)(at - tape->bytes);
        at += frame_header(at, first, masked, length);
        if (masked) {
            memcpy(at, key, 4);
            at += 4;
        } else
            memset(key, 0, 4);
        mask_copy(at, settings->deflate ? payload : wanted, length, key);
        at += length;
    }
    tape->starts[count] = (size_t)(at - tape->bytes);
    free(payload);
}
