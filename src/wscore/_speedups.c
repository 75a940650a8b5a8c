/* The compiled leaves: what masking.py, utf8.py, frames.py and messages.py define, in C.

Each function has the name, the arguments and the result of the Python function that defines it,
and the same tests hold for both; accel.py picks. What is rare or wrong is left to Python: nothing
here judges a peer. Words are loaded by memcpy, because nothing is said about their alignment. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdint.h>
#include <string.h>

#include "_encoding.h"
#include "_masking.h"
#include "_utf8.h"

/* The attributes of a MessagePiece. */
enum { TYPE, DATA, TEXT, FIRST, LAST, SLOTS };
static const char *const slot_names[SLOTS] = {"type", "data", "text", "first", "last"};

typedef struct {
    PyTypeObject *piece;         /* events.MessagePiece */
    Py_ssize_t offsets[SLOTS];   /* where its slots lie in it */
    PyObject *text;              /* DataType.TEXT */
    PyObject *binary;            /* DataType.BINARY */
    PyObject *take;              /* the name of Extended.take */
} State;

static int
wrong_number(const char *name, Py_ssize_t given, Py_ssize_t least, Py_ssize_t most)
{
    if (given >= least && given <= most) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s() takes %zd to %zd arguments, not %zd", name, least, most,
                 given);
    return 1;
}

static int
no_bytes(PyObject *object)
{
    if (PyBytes_Check(object)) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "bytes are needed, not %.100s", Py_TYPE(object)->tp_name);
    return 1;
}

/* The bytes of `object`, for which a release must follow; TypeError where it has none. */
static int
get_bytes(PyObject *object, Py_buffer *bytes)
{
    if (!PyBytes_CheckExact(object)) {
        return PyObject_GetBuffer(object, bytes, PyBUF_SIMPLE);
    }
    bytes->buf = PyBytes_AS_STRING(object);
    bytes->len = PyBytes_GET_SIZE(object);
    bytes->obj = NULL; /* which makes the release do nothing */
    return 0;
}

static PyObject *
imported(const char *module, const char *name)
{
    PyObject *from = PyImport_ImportModule(module);
    if (from == NULL) {
        return NULL;
    }
    PyObject *object = PyObject_GetAttrString(from, name);
    Py_DECREF(from);
    return object;
}

/* What the Python function of that name says. */
static PyObject *
defined(const char *name, PyObject *const *args, size_t given)
{
    PyObject *definitions = imported("wscore.speedups", "DEFINITIONS");
    if (definitions == NULL) {
        return NULL;
    }
    PyObject *definition = PyMapping_GetItemString(definitions, name);
    Py_DECREF(definitions);
    if (definition == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_Vectorcall(definition, args, given, NULL);
    Py_DECREF(definition);
    return result;
}

/* masking.py */

PyDoc_STRVAR(apply_mask_doc, "apply_mask(data, key, start=0, stop=sys.maxsize, /)\n--\n\n"
                             "As masking.apply_mask.");

static PyObject *
apply_mask(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (wrong_number("apply_mask", given, 2, 4) || no_bytes(args[1])) {
        return NULL;
    }
    if (PyBytes_GET_SIZE(args[1]) != 4) {
        PyErr_SetString(PyExc_ValueError, "a masking key has four bytes");
        return NULL;
    }
    Py_ssize_t start = given > 2 ? PyLong_AsSsize_t(args[2]) : 0;
    if (start == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_ssize_t stop = given > 3 ? PyLong_AsSsize_t(args[3]) : PY_SSIZE_T_MAX;
    if (stop == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_buffer data;
    if (get_bytes(args[0], &data) < 0) {
        return NULL;
    }
    const Py_ssize_t size = PySlice_AdjustIndices(data.len, &start, &stop, 1);
    const char *const from = (const char *)data.buf + start;
    PyObject *masked = masked_copy(from, size, PyBytes_AS_STRING(args[1]));
    PyBuffer_Release(&data);
    return masked;
}

/* frames.py */

PyDoc_STRVAR(readable_doc, "readable(data, /)\n--\n\nAs frames.readable.");

/* A memoryview of plain bytes as it is: what reads it here takes it as well. */
static PyObject *
readable(PyObject *Py_UNUSED(module), PyObject *data)
{
    if (PyMemoryView_Check(data)) {
        const Py_buffer *const view = PyMemoryView_GET_BUFFER(data);
        const int plain = view->format == NULL || strcmp(view->format, "B") == 0;
        if (plain && view->ndim == 1 && PyBuffer_IsContiguous(view, 'C')) {
            return Py_NewRef(data);
        }
    }
    return defined("readable", &data, 1);
}

PyDoc_STRVAR(message_frame_doc, "message_frame(data, below, /)\n--\n\nAs frames.message_frame.");

enum { LARGE = 1 << 18 }; /* frames.LARGE */

/* How many bytes text that is not ASCII takes in UTF-8; -1 where Python has to say it, or why it
cannot. */
static Py_ssize_t
encoded_size(PyObject *text)
{
    const Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    switch (PyUnicode_KIND(text)) {
    case PyUnicode_1BYTE_KIND:
        return encoded_size_1(PyUnicode_1BYTE_DATA(text), size);
    case PyUnicode_2BYTE_KIND:
        return encoded_size_2(PyUnicode_2BYTE_DATA(text), size);
    default: /* CPython takes 0.6 of the time of groups where a few are emoji */
        return -1;
    }
}

/* Text whose encoded_size is known. */
static void
encode_text(char *to, PyObject *text)
{
    const Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    if (PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND) {
        encode_1(to, PyUnicode_1BYTE_DATA(text), size);
    }
    else {
        encode_2(to, PyUnicode_2BYTE_DATA(text), size);
    }
}

static PyObject *
message_frame(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (wrong_number("message_frame", given, 2, 2)) {
        return NULL;
    }
    PyObject *const data = args[0];
    const Py_ssize_t below = PyLong_AsSsize_t(args[1]);
    if (below == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *encoded = NULL;
    const char *payload = NULL;
    Py_ssize_t size;
    char header[10];
    if (PyBytes_CheckExact(data)) {
        header[0] = (char)0x82; /* FIN and BINARY */
        payload = PyBytes_AS_STRING(data);
        size = PyBytes_GET_SIZE(data);
        if (size >= LARGE) {
            Py_RETURN_NONE;
        }
    }
    else if (!PyUnicode_CheckExact(data)) {
        Py_RETURN_NONE;
    }
    else {
        header[0] = (char)0x81; /* FIN and TEXT */
        size = PyUnicode_GET_LENGTH(data);
        if (PyUnicode_IS_COMPACT_ASCII(data)) {
            payload = PyUnicode_DATA(data);
        }
        else {
            if (size >= below || 4 * size >= below) {
                Py_RETURN_NONE;
            }
            size = encoded_size(data);
            if (size < 0) {
                encoded = PyUnicode_AsUTF8String(data);
                if (encoded == NULL) {
                    return NULL;
                }
                payload = PyBytes_AS_STRING(encoded);
                size = PyBytes_GET_SIZE(encoded);
            }
        }
    }
    if (size >= below) {
        Py_XDECREF(encoded);
        Py_RETURN_NONE;
    }
    Py_ssize_t used = 2;
    int width = size < 126 ? 0 : size < 65536 ? 2 : 8;
    header[1] = (char)(width == 0 ? size : width == 2 ? 126 : 127);
    while (width > 0) {
        header[used++] = (char)(size >> 8 * --width);
    }
    PyObject *frame = PyBytes_FromStringAndSize(NULL, used + size);
    if (frame != NULL) {
        char *const to = PyBytes_AS_STRING(frame);
        memcpy(to, header, used);
        if (payload != NULL) {
            memcpy(to + used, payload, size);
        }
        else {
            encode_text(to + used, data);
        }
    }
    Py_XDECREF(encoded);
    return frame;
}

/* utf8.py */

PyDoc_STRVAR(decode_doc, "decode(data, final, /)\n--\n\nAs utf8.decode.");

static PyObject *
decode(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (wrong_number("decode", given, 2, 2) || no_bytes(args[0])) {
        return NULL;
    }
    const int final = PyObject_IsTrue(args[1]);
    if (final < 0) {
        return NULL;
    }
    const char *const bytes = PyBytes_AS_STRING(args[0]);
    const Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
    Py_ssize_t used = size;
    PyObject *text = decoded(bytes, size, final ? NULL : &used);
    if (text != NULL && used < size) { /* whether that can become a code point is not judged here */
        PyObject *rest = PyBytes_FromStringAndSize(bytes + used, size - used);
        PyObject *const judge[] = {rest, args[1]};
        PyObject *judged = rest == NULL ? NULL : defined("decode", judge, 2);
        Py_XDECREF(rest);
        if (judged == NULL) {
            Py_DECREF(text);
            if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
                return NULL;
            }
            PyErr_Clear();
            return defined("decode", args, 2); /* raises the same, of the whole */
        }
        Py_DECREF(judged);
    }
    return text == NULL ? NULL : Py_BuildValue("Nn", text, used);
}

PyDoc_STRVAR(encode_doc, "encode(text, /)\n--\n\nAs utf8.encode.");

static PyObject *
encode(PyObject *Py_UNUSED(module), PyObject *text)
{
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "str is needed, not %.100s", Py_TYPE(text)->tp_name);
        return NULL;
    }
    const Py_ssize_t size = PyUnicode_IS_ASCII(text) ? -1 : encoded_size(text);
    if (size < 0) {
        return PyUnicode_AsUTF8String(text);
    }
    PyObject *encoded = PyBytes_FromStringAndSize(NULL, size);
    if (encoded != NULL) {
        encode_text(PyBytes_AS_STRING(encoded), text);
    }
    return encoded;
}

/* messages.py */

/* A MessagePiece of a whole message; takes over `payload` and `text`.

Its slots are filled where they lie, for by __init__ a message of 32 bytes takes 160 ns, not 70. */
static PyObject *
new_piece(const State *state, PyObject *type, PyObject *payload, PyObject *text)
{
    PyObject *piece = PyType_GenericAlloc(state->piece, 0);
    if (piece == NULL) {
        Py_DECREF(payload);
        Py_DECREF(text);
        return NULL;
    }
    PyObject *const values[SLOTS] = {Py_NewRef(type), payload, text, Py_NewRef(Py_True),
                                     Py_NewRef(Py_True)};
    for (int i = 0; i < SLOTS; i++) {
        memcpy((char *)piece + state->offsets[i], &values[i], sizeof(PyObject *));
    }
    return piece;
}

/* Append the message of that payload to `events`: 1, or 0 where it is no text, or -1. Takes over
`payload`. */
static int
append_message(const State *state, PyObject *events, int is_text, PyObject *payload)
{
    PyObject *text = Py_None;
    if (is_text) {
        text = decoded(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), NULL);
        if (text == NULL) {
            Py_DECREF(payload);
            if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
                return -1;
            }
            PyErr_Clear();
            return 0;
        }
    }
    else {
        Py_INCREF(text);
    }
    PyObject *piece = new_piece(state, is_text ? state->text : state->binary, payload, text);
    if (piece == NULL) {
        return -1;
    }
    const int failed = PyList_Append(events, piece);
    Py_DECREF(piece);
    return failed ? -1 : 1;
}

/* Have `extended` take a message: 1, or 0 where no other may follow, or -1. Takes over `payload`. */
static int
take_extended(const State *state, PyObject *extended, int first, PyObject *payload,
              PyObject *events)
{
    PyObject *byte = PyLong_FromLong(first);
    PyObject *const args[] = {extended, byte, payload, events};
    PyObject *taken =
        byte == NULL ? NULL : PyObject_VectorcallMethod(state->take, args, 4, NULL);
    Py_XDECREF(byte);
    Py_DECREF(payload);
    const int goes_on = taken == NULL ? -1 : PyObject_IsTrue(taken);
    Py_XDECREF(taken);
    return goes_on;
}

PyDoc_STRVAR(whole_messages_doc,
             "whole_messages(data, position, masked, limit, budget, events, bits, extended, /)\n"
             "--\n\n"
             "As messages.whole_messages.");

static PyObject *
whole_messages(PyObject *module, PyObject *const *args, Py_ssize_t given)
{
    if (wrong_number("whole_messages", given, 8, 8)) {
        return NULL;
    }
    Py_ssize_t position = PyLong_AsSsize_t(args[1]);
    if (position < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "a position is not negative");
        }
        return NULL;
    }
    const int masked = PyObject_IsTrue(args[2]);
    const Py_ssize_t limit = PyLong_AsSsize_t(args[3]);
    Py_ssize_t budget = PyLong_AsSsize_t(args[4]);
    PyObject *const events = args[5];
    const long bits = PyLong_AsLong(args[6]);
    if (masked < 0 || PyErr_Occurred()) {
        return NULL;
    }
    if (!PyList_Check(events)) {
        PyErr_SetString(PyExc_TypeError, "events is a list");
        return NULL;
    }
    const State *const state = PyModule_GetState(module);
    Py_buffer buffer;
    if (get_bytes(args[0], &buffer) < 0) {
        return NULL;
    }
    const unsigned char *const data = buffer.buf;
    const Py_ssize_t end = buffer.len;

    for (; budget > 0 && position < end - 1; budget--) {
        const int first = data[position];
        const int coded = first & (int)bits;
        const int plain = first - coded;
        if (plain != 0x81 && plain != 0x82) { /* FIN and TEXT, FIN and BINARY */
            break;
        }
        const int second = data[position + 1];
        if ((second >= 0x80) != masked) {
            break;
        }
        Py_ssize_t size = second & 0x7F;
        Py_ssize_t start = position + 2;
        if (size > 125) {
            const int is_short = size == 126;
            if (coded && !is_short) {
                break;
            }
            const Py_ssize_t length = start;
            start += is_short ? 2 : 8;
            if (start > end || (!is_short && data[length] >= 0x80)) {
                break;
            }
            size = 0;
            for (Py_ssize_t i = length; i < start; i++) {
                size = size << 8 | data[i];
            }
            if (size < (is_short ? 126 : 65536)) {
                break;
            }
        }
        const Py_ssize_t key = start;
        if (masked) {
            start += 4;
        }
        if (size > limit || size > end - start) {
            break;
        }
        const char *const from = (const char *)data + start;
        PyObject *payload = masked ? masked_copy(from, size, (const char *)data + key)
                                   : PyBytes_FromStringAndSize(from, size);
        const int done = payload == NULL ? -1
                         : coded         ? take_extended(state, args[7], first, payload, events)
                                         : append_message(state, events, plain == 0x81, payload);
        if (done < 0) {
            PyBuffer_Release(&buffer);
            return NULL;
        }
        if (done || coded) {
            position = start + size;
        }
        if (!done) {
            break;
        }
    }
    PyBuffer_Release(&buffer);
    return PyLong_FromSsize_t(position);
}

/* The module */

static PyMethodDef methods[] = {
    {"apply_mask", (PyCFunction)(void (*)(void))apply_mask, METH_FASTCALL, apply_mask_doc},
    {"readable", readable, METH_O, readable_doc},
    {"decode", (PyCFunction)(void (*)(void))decode, METH_FASTCALL, decode_doc},
    {"encode", encode, METH_O, encode_doc},
    {"message_frame", (PyCFunction)(void (*)(void))message_frame, METH_FASTCALL, message_frame_doc},
    {"whole_messages", (PyCFunction)(void (*)(void))whole_messages, METH_FASTCALL,
     whole_messages_doc},
    {NULL, NULL, 0, NULL},
};

/* Where MessagePiece keeps its attributes. */
static int
find_slots(State *state)
{
    for (int i = 0; i < SLOTS; i++) {
        PyObject *slot = PyObject_GetAttrString((PyObject *)state->piece, slot_names[i]);
        if (slot == NULL) {
            return -1;
        }
        const int found = Py_IS_TYPE(slot, &PyMemberDescr_Type) &&
                          ((PyMemberDescrObject *)slot)->d_member->type == T_OBJECT_EX;
        if (found) {
            state->offsets[i] = ((PyMemberDescrObject *)slot)->d_member->offset;
        }
        Py_DECREF(slot);
        if (!found) {
            PyErr_Format(PyExc_ImportError, "MessagePiece has no slot %s", slot_names[i]);
            return -1;
        }
    }
    return 0;
}

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    PyObject *types = imported("wscore.enums", "DataType");
    if (types == NULL) {
        return -1;
    }
    state->text = PyObject_GetAttrString(types, "TEXT");
    state->binary = PyObject_GetAttrString(types, "BINARY");
    Py_DECREF(types);
    state->take = PyUnicode_InternFromString("take");
    PyObject *piece = imported("wscore.events", "MessagePiece");
    if (state->text == NULL || state->binary == NULL || state->take == NULL || piece == NULL) {
        Py_XDECREF(piece);
        return -1;
    }
    if (!PyType_Check(piece)) {
        Py_DECREF(piece);
        PyErr_SetString(PyExc_ImportError, "MessagePiece is no class");
        return -1;
    }
    state->piece = (PyTypeObject *)piece;
    return find_slots(state);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->piece);
    Py_VISIT(state->text);
    Py_VISIT(state->binary);
    Py_VISIT(state->take);
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->piece);
    Py_CLEAR(state->text);
    Py_CLEAR(state->binary);
    Py_CLEAR(state->take);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "wscore._speedups",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&definition);
}
