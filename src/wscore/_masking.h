/* masking.py in C, for _speedups.c. */

/* `to` may be `from`. */
static void
xor_key(char *to, const char *from, Py_ssize_t size, const char *key)
{
    const Py_ssize_t words = size / 8;
    uint64_t pad;
    memcpy(&pad, key, 4);
    memcpy((char *)&pad + 4, key, 4);
    for (Py_ssize_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, from + 8 * i, 8);
        word ^= pad;
        memcpy(to + 8 * i, &word, 8);
    }
    for (Py_ssize_t i = 8 * words; i < size; i++) {
        to[i] = (char)(from[i] ^ key[i & 3]);
    }
}

static PyObject *
masked_copy(const char *from, Py_ssize_t size, const char *key)
{
    PyObject *copy = PyBytes_FromStringAndSize(NULL, size);
    if (copy != NULL) {
        xor_key(PyBytes_AS_STRING(copy), from, size, key);
    }
    return copy;
}
