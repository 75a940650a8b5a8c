/* Whole messages, and the connections that receive them, for _speedups.c of either package.

The objects of the State begin with TEXT_TYPE, BINARY_TYPE and NO_TYPE of DataType, ZERO, and
METHOD_TYPE. */

#include "_masking.h"
#include "_utf8.h"

/* These four, and the type Method. */
static void
bind_objects(State *state, PyObject *module)
{
    static const char *const names[] = {"TEXT", "BINARY", "NONE"};
    PyObject *types = imported("wscore.enums", "DataType");
    for (int i = TEXT_TYPE; types != NULL && i <= NO_TYPE; i++) {
        OBJECT(i) = PyObject_GetAttrString(types, names[i]);
    }
    Py_XDECREF(types);
    OBJECT(ZERO) = PyLong_FromLong(0);
    OBJECT(METHOD_TYPE) = PyType_FromModuleAndSpec(module, &method_spec, NULL);
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

/* The text of a message, or None for a binary one. Returns 1, or 0 if it is not valid UTF-8 and -1
for an error: then it drops the reference to `payload`. */
static int
text_of(int is_text, PyObject *payload, PyObject **text)
{
    *text = is_text ? decoded(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), NULL)
                    : Py_NewRef(Py_None);
    if (*text != NULL) {
        return 1;
    }
    Py_DECREF(payload);
    if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

/* Takes a message; steals the reference to `payload`. Returns 1, 0 if the payload of a text message
is not valid UTF-8, and -1 for an error. */
typedef int Take(const State *state, void *to, int is_text, PyObject *payload);

/* The parser, if it is between two messages and holds nothing. */
static PyObject *
idle_parser(const State *state, PyObject *connection)
{
    PyObject *const parser = SLOT(connection, Connection__parser);
    if (!holds(SLOT(connection, Connection__deadlines), CLASS(Deadlines)) ||
        SLOT(connection, Connection__may_receive) != Py_True ||
        SLOT(connection, Connection__keepalive_ping) != Py_None ||
        SLOT(connection, Connection__eof_held) != Py_False ||
        !holds(parser, CLASS(Parser))) {
        return NULL;
    }
    PyObject *const rest = SLOT(parser, Parser__rest);
    PyObject *const pending = SLOT(parser, Parser__pending);
    const int idle =
        SLOT(parser, Parser__type) == OBJECT(NO_TYPE) &&
        SLOT(parser, Parser_more) == Py_False && holds(rest, &PyBytes_Type) &&
        PyBytes_GET_SIZE(rest) == 0 && holds(pending, &PyTuple_Type) &&
        PyTuple_GET_SIZE(pending) == 0 && holds(SLOT(parser, Parser__limit), &PyLong_Type) &&
        holds(SLOT(parser, Parser_max_frames), &PyLong_Type);
    return idle ? parser : NULL;
}

/* Take the messages in `object` if it holds whole plain messages only. Returns 1, 0 for other data,
and -1 for an error; some may have been taken in any case. */
static int
take_messages(const State *state, PyObject *parser, PyObject *object, Take *take, void *to)
{
    const Py_ssize_t limit = PyLong_AsSsize_t(SLOT(parser, Parser__limit));
    Py_ssize_t budget = PyLong_AsSsize_t(SLOT(parser, Parser_max_frames));
    const int masked = SLOT(parser, Parser__masked) == Py_True;
    Py_buffer buffer;
    if (PyErr_Occurred() || (!PyBytes_CheckExact(object) && !is_plain_view(object))) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (get_bytes(object, &buffer) < 0) {
        return -1;
    }
    const unsigned char *const data = buffer.buf;
    const Py_ssize_t end = buffer.len;
    Frame frame = {0};
    int done = end > 0;
    for (Py_ssize_t at = 0; done && at < end; at = frame.start + frame.size) {
        done = budget-- > 0 && read_frame(data, at, end, masked, limit, 0, &frame);
    }
    for (Py_ssize_t at = 0; done > 0 && at < end; at = frame.start + frame.size) {
        done = read_frame(data, at, end, masked, limit, 0, &frame);
        PyObject *payload = done ? frame_payload(data, masked, &frame) : NULL;
        done = payload != NULL ? take(state, to, frame.first == FIN_TEXT, payload) : done ? -1 : 0;
    }
    PyBuffer_Release(&buffer);
    return done;
}

/* Note that the peer was heard at `now`. */
static void
heard(const State *state, PyObject *connection, PyObject *now)
{
    PyObject *const deadlines = SLOT(connection, Connection__deadlines);
    Py_XSETREF(SLOT(deadlines, Deadlines_heard), Py_NewRef(now));
}
