/* Whole messages, for _speedups.c of either package. OTHERS has TEXT_TYPE, BINARY_TYPE and NO_TYPE
of DataType. */

#include "_masking.h"
#include "_utf8.h"

static void
keep_types(State *state)
{
    static const char *const types[] = {"TEXT", "BINARY", "NONE"};
    PyObject *kinds = imported("wscore.enums", "DataType");
    for (int i = TEXT_TYPE; kinds != NULL && i <= NO_TYPE; i++) {
        OBJECT(i) = PyObject_GetAttrString(kinds, types[i - TEXT_TYPE]);
    }
    Py_XDECREF(kinds);
}

/* Get the bytes of `object`, to be released later. Raises TypeError if it is not bytes-like. */
static int
get_bytes(PyObject *object, Py_buffer *bytes)
{
    if (!PyBytes_CheckExact(object)) {
        return PyObject_GetBuffer(object, bytes, PyBUF_SIMPLE);
    }
    bytes->buf = PyBytes_AS_STRING(object);
    bytes->len = PyBytes_GET_SIZE(object);
    bytes->obj = NULL; /* the release then does nothing */
    return 0;
}

/* Whether it is a memoryview that the functions here read as it is. */
static int
is_plain_view(PyObject *data)
{
    if (!PyMemoryView_Check(data)) {
        return 0;
    }
    const Py_buffer *const view = PyMemoryView_GET_BUFFER(data);
    const int plain = view->format == NULL || strcmp(view->format, "B") == 0;
    return plain && view->ndim == 1 && PyBuffer_IsContiguous(view, 'C');
}

enum { FIN_TEXT = 0x81, FIN_BINARY = 0x82 }; /* the first byte of an unfragmented message */

typedef struct {
    int first;
    Py_ssize_t key;   /* where it begins, if there is one */
    Py_ssize_t start; /* where the payload begins */
    Py_ssize_t size;
} Frame;

/* Read the header at `position` of a whole unfragmented message, whose reserved bits are all in
`bits`. Returns 0 for any other frame. */
static inline int
read_frame(const unsigned char *data, Py_ssize_t position, Py_ssize_t end, int masked,
           Py_ssize_t limit, int bits, Frame *frame)
{
    if (position >= end - 1) {
        return 0;
    }
    const int first = data[position];
    const int encoded = first & bits;
    const int plain = first - encoded;
    const int second = data[position + 1];
    if ((plain != FIN_TEXT && plain != FIN_BINARY) || (second >= 0x80) != masked) {
        return 0;
    }
    Py_ssize_t size = second & 0x7F;
    Py_ssize_t start = position + 2;
    if (size > 125) {
        const int is_short = size == 126;
        if (encoded && !is_short) {
            return 0;
        }
        const Py_ssize_t length = start;
        start += is_short ? 2 : 8;
        if (start > end) {
            return 0;
        }
        uint64_t declared = 0;
        for (Py_ssize_t i = length; i < start; i++) {
            declared = declared << 8 | data[i];
        }
        size = (Py_ssize_t)declared; /* negative if the top bit is set */
        if (size < (is_short ? 126 : 65536)) {
            return 0;
        }
    }
    frame->first = first;
    frame->key = start;
    frame->start = start + (masked ? 4 : 0);
    frame->size = size;
    return size <= limit && size <= end - frame->start;
}

static PyObject *
frame_payload(const unsigned char *data, int masked, const Frame *frame)
{
    const char *const from = (const char *)data + frame->start;
    return masked ? masked_copy(from, frame->size, (const char *)data + frame->key)
                  : PyBytes_FromStringAndSize(from, frame->size);
}

/* The text of a message; NULL without an exception if it is not valid UTF-8. */
static PyObject *
text_of(const char *payload, Py_ssize_t size)
{
    PyObject *text = decoded(payload, size, NULL);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
    }
    return text;
}
