/* The C extension: functions of masking.py, utf8.py, frames.py and messages.py, in C.

Each function takes the arguments and returns the results of the Python function of its name, and
the same tests run on both; speedups.py chooses. Python handles what is rare or invalid: no peer's
mistake is reported from here. Words are loaded with memcpy, because they may be unaligned.

Nothing here changes after the import, and buffers are held while they are read, so the functions
need no GIL. The content of a bytearray may change meanwhile: each byte of a frame's header is
therefore read once, and text is decoded from a copy. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdint.h>
#include <string.h>

#define MODULE "wscore._speedups"
#define IMPORTS(X) X(MessagePiece, "wscore.events")
#define SLOTS(X)                                                                                   \
    X(MessagePiece, type) X(MessagePiece, data) X(MessagePiece, text) X(MessagePiece, first)       \
    X(MessagePiece, last)
#define NAMES(X) X(take)
#define OTHERS TEXT_TYPE, BINARY_TYPE, NO_TYPE,

#include "_encoding.h"
#include "_state.h"
#include "_messages.h"

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
    PyErr_Format(PyExc_TypeError, "expected bytes, not %.100s", Py_TYPE(object)->tp_name);
    return 1;
}

/* Call the Python function of that name. */
static PyObject *
call_python(const char *name, PyObject *const *args, size_t given)
{
    PyObject *functions = imported("wscore.speedups", "PYTHON_FUNCTIONS");
    if (functions == NULL) {
        return NULL;
    }
    PyObject *function = PyMapping_GetItemString(functions, name);
    Py_DECREF(functions);
    if (function == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_Vectorcall(function, args, given, NULL);
    Py_DECREF(function);
    return result;
}

/* masking.py */

PyDoc_STRVAR(apply_mask_doc, "apply_mask(data, key, start=0, stop=sys.maxsize, /)\n--\n\n"
                             "See masking.apply_mask.");

static PyObject *
apply_mask(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (wrong_number("apply_mask", given, 2, 4) || no_bytes(args[1])) {
        return NULL;
    }
    if (PyBytes_GET_SIZE(args[1]) != 4) {
        PyErr_SetString(PyExc_ValueError, "a masking key must have four bytes");
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

PyDoc_STRVAR(readable_doc, "readable(data, /)\n--\n\nSee frames.readable.");

static PyObject *
readable(PyObject *Py_UNUSED(module), PyObject *data)
{
    return is_plain_view(data) ? Py_NewRef(data) : call_python("readable", &data, 1);
}

PyDoc_STRVAR(message_frame_doc, "message_frame(data, below, keys, /)\n--\n\n"
                                "See frames.message_frame.");

enum { LARGE = 1 << 18 }; /* frames.LARGE */
enum { SHORT_TEXT = 256 };  /* characters */

/* The size in UTF-8 of text that is not ASCII; -1 if CPython is to encode it, or to raise. */
static Py_ssize_t
encoded_size(PyObject *text)
{
    const Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    switch (PyUnicode_KIND(text)) {
    case PyUnicode_1BYTE_KIND:
        return encoded_size_1(PyUnicode_1BYTE_DATA(text), size);
    case PyUnicode_2BYTE_KIND:
        return encoded_size_2(PyUnicode_2BYTE_DATA(text), size);
    default: /* text with a few emoji: CPython takes 0.6 of the time that groups would take */
        return -1;
    }
}

/* Encode text of a known encoded_size. */
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

/* Encode short text that is not ASCII, without a look at its size before: 500 instructions. Returns
that size, or -1 if CPython is to encode it, or to raise. */
static Py_ssize_t
encode_short(char *to, PyObject *text)
{
    const Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    switch (PyUnicode_KIND(text)) {
    case PyUnicode_1BYTE_KIND:
        return encode_1(to, PyUnicode_1BYTE_DATA(text), size) - to;
    case PyUnicode_2BYTE_KIND:
        return has_surrogates(PyUnicode_2BYTE_DATA(text), size)
                   ? -1
                   : encode_2(to, PyUnicode_2BYTE_DATA(text), size) - to;
    default:
        return -1;
    }
}

/* Write the next of a client's masking keys. Returns 0 for an error. */
static int
next_key(char *to, PyObject *keys)
{
    PyObject *key = PyIter_Check(keys) ? PyIter_Next(keys) : NULL;
    const int found = key != NULL && PyBytes_Check(key) && PyBytes_GET_SIZE(key) == 4;
    if (found) {
        memcpy(to, PyBytes_AS_STRING(key), 4);
    }
    else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "the keys must be an iterator of four bytes each");
    }
    Py_XDECREF(key);
    return found;
}

static PyObject *
message_frame(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (wrong_number("message_frame", given, 3, 3)) {
        return NULL;
    }
    PyObject *const data = args[0], *const keys = args[2];
    const Py_ssize_t below = PyLong_AsSsize_t(args[1]);
    if (below == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *encoded = NULL;
    const char *payload = NULL;
    Py_ssize_t size;
    char header[14];
    char short_text[3 * SHORT_TEXT];
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
            if (size <= SHORT_TEXT) {
                size = encode_short(short_text, data);
                payload = short_text;
            }
            else {
                size = encoded_size(data);
            }
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
    if (keys != Py_None) {
        if (!next_key(header + used, keys)) {
            Py_XDECREF(encoded);
            return NULL;
        }
        header[1] |= (char)0x80; /* MASKED */
        used += 4;
    }
    PyObject *frame = PyBytes_FromStringAndSize(NULL, used + size);
    if (frame != NULL) {
        char *const to = PyBytes_AS_STRING(frame);
        memcpy(to, header, (size_t)used);
        if (payload != NULL) {
            memcpy(to + used, payload, (size_t)size);
        }
        else {
            encode_text(to + used, data);
        }
        if (keys != Py_None) {
            xor_key(to + used, to + used, size, header + used - 4);
        }
    }
    Py_XDECREF(encoded);
    return frame;
}

/* utf8.py */

PyDoc_STRVAR(decode_doc, "decode(data, final, /)\n--\n\nSee utf8.decode.");

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
    if (text != NULL && used < size) { /* Python decides whether the rest can become valid */
        PyObject *rest = PyBytes_FromStringAndSize(bytes + used, size - used);
        PyObject *const arguments[] = {rest, args[1]};
        PyObject *decoded_rest = rest == NULL ? NULL : call_python("decode", arguments, 2);
        Py_XDECREF(rest);
        if (decoded_rest == NULL) {
            Py_DECREF(text);
            if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
                return NULL;
            }
            PyErr_Clear();
            return call_python("decode", args, 2); /* raises, with positions in all of the data */
        }
        Py_DECREF(decoded_rest);
    }
    return text == NULL ? NULL : Py_BuildValue("Nn", text, used);
}

PyDoc_STRVAR(encode_doc, "encode(text, /)\n--\n\nSee utf8.encode.");

static PyObject *
encode(PyObject *Py_UNUSED(module), PyObject *text)
{
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "expected str, not %.100s", Py_TYPE(text)->tp_name);
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

/* A MessagePiece of an unfragmented message; steals the references to `payload` and `text`.

The slots are filled directly: a message of 32 bytes takes 70 ns, by __init__ it would take 160. */
static PyObject *
new_piece(const State *state, PyObject *type, PyObject *payload, PyObject *text)
{
    PyObject *piece = PyType_GenericAlloc(CLASS(MessagePiece), 0);
    if (piece == NULL) {
        Py_DECREF(payload);
        Py_DECREF(text);
        return NULL;
    }
    SLOT(piece, MessagePiece_type) = Py_NewRef(type);
    SLOT(piece, MessagePiece_data) = payload;
    SLOT(piece, MessagePiece_text) = text;
    SLOT(piece, MessagePiece_first) = Py_NewRef(Py_True);
    SLOT(piece, MessagePiece_last) = Py_NewRef(Py_True);
    return piece;
}

/* Append a message to the list `events`; steals the reference to `payload`. Returns 1, 0 if the
payload of a text message is not valid UTF-8, and -1 for an error. */
static int
append_message(const State *state, PyObject *events, int is_text, PyObject *payload)
{
    PyObject *text = is_text ? text_of(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
                             : Py_NewRef(Py_None);
    if (text == NULL) {
        Py_DECREF(payload);
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *const type = OBJECT(is_text ? TEXT_TYPE : BINARY_TYPE);
    PyObject *piece = new_piece(state, type, payload, text);
    if (piece == NULL) {
        return -1;
    }
    const int failed = PyList_Append(events, piece);
    Py_DECREF(piece);
    return failed ? -1 : 1;
}

/* Pass a message to `decoding`; steals the reference to `payload`. Returns 1, 0 if the message is
the last, and -1 for an error. */
static int
take_encoded(const State *state, PyObject *decoding, int first, PyObject *payload,
             PyObject *events)
{
    PyObject *byte = PyLong_FromLong(first);
    PyObject *const args[] = {decoding, byte, payload, events};
    PyObject *taken =
        byte == NULL ? NULL : PyObject_VectorcallMethod(OBJECT(NAME_take), args, 4, NULL);
    Py_XDECREF(byte);
    Py_DECREF(payload);
    const int more = taken == NULL ? -1 : PyObject_IsTrue(taken);
    Py_XDECREF(taken);
    return more;
}

PyDoc_STRVAR(whole_messages_doc,
             "whole_messages(data, position, masked, limit, budget, events, bits, decoding, /)\n"
             "--\n\n"
             "See messages.whole_messages.");

static PyObject *
whole_messages(PyObject *module, PyObject *const *args, Py_ssize_t given)
{
    if (wrong_number("whole_messages", given, 8, 8)) {
        return NULL;
    }
    Py_ssize_t position = PyLong_AsSsize_t(args[1]);
    if (position < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "position must not be negative");
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
        PyErr_SetString(PyExc_TypeError, "events must be a list");
        return NULL;
    }
    const State *const state = PyModule_GetState(module);
    Py_buffer buffer;
    if (get_bytes(args[0], &buffer) < 0) {
        return NULL;
    }
    const unsigned char *const data = buffer.buf;
    const Py_ssize_t end = buffer.len;

    Frame frame;
    for (; budget > 0; budget--) {
        if (!read_frame(data, position, end, masked, limit, (int)bits, &frame)) {
            break;
        }
        const int encoded = frame.first & (int)bits;
        PyObject *payload = frame_payload(data, masked, &frame);
        const int done =
            payload == NULL ? -1
            : encoded       ? take_encoded(state, args[7], frame.first, payload, events)
                            : append_message(state, events, frame.first == FIN_TEXT, payload);
        if (done < 0) {
            PyBuffer_Release(&buffer);
            return NULL;
        }
        if (done || encoded) {
            position = frame.start + frame.size;
        }
        if (!done) {
            break;
        }
    }
    PyBuffer_Release(&buffer);
    return PyLong_FromSsize_t(position);
}

/* The module */

static PyMethodDef functions[] = {
    {"apply_mask", (PyCFunction)(void (*)(void))apply_mask, METH_FASTCALL, apply_mask_doc},
    {"readable", readable, METH_O, readable_doc},
    {"decode", (PyCFunction)(void (*)(void))decode, METH_FASTCALL, decode_doc},
    {"encode", encode, METH_O, encode_doc},
    {"message_frame", (PyCFunction)(void (*)(void))message_frame, METH_FASTCALL, message_frame_doc},
    {"whole_messages", (PyCFunction)(void (*)(void))whole_messages, METH_FASTCALL,
     whole_messages_doc},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    State *const state = PyModule_GetState(module);
    NAMES(INTERN)
    keep_types(state);
    return PyErr_Occurred() ? -1 : import_below(state, ALL_IMPORTS);
}

#include "_module.h"
