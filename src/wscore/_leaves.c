/* The compiled leaves: what masking.py, utf8.py and messages.py define, in C.

Each function has the name, the arguments and the result of the Python function that defines it,
and the same tests hold for both; accel.py picks. What is rare or wrong is left to Python: nothing
here judges a peer. Words are loaded by memcpy, because nothing is said about their alignment. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdint.h>
#include <string.h>

/* The bits of a word that no ASCII has. */
#define NON_ASCII UINT64_C(0x8080808080808080)

/* The attributes of a MessagePiece. */
enum { TYPE, DATA, TEXT, FIRST, LAST, SLOTS };
static const char *const slot_names[SLOTS] = {"type", "data", "text", "first", "last"};

typedef struct {
    PyTypeObject *piece;         /* events.MessagePiece */
    Py_ssize_t offsets[SLOTS];   /* where its slots lie in it */
    PyObject *text;              /* DataType.TEXT */
    PyObject *binary;            /* DataType.BINARY */
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

/* masking.py */

static void
xor_key(char *restrict to, const char *restrict from, Py_ssize_t size, const char *restrict key)
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

PyDoc_STRVAR(apply_mask_doc, "apply_mask(data, key, start=0, stop=sys.maxsize, /)\n--\n\n"
                             "As masking.apply_mask.");

static PyObject *
apply_mask(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (wrong_number("apply_mask", given, 2, 4) || no_bytes(args[0]) || no_bytes(args[1])) {
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
    const Py_ssize_t size = PySlice_AdjustIndices(PyBytes_GET_SIZE(args[0]), &start, &stop, 1);
    return masked_copy(PyBytes_AS_STRING(args[0]) + start, size, PyBytes_AS_STRING(args[1]));
}

/* utf8.py */

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

/* What utf8.decode itself says. */
static PyObject *
defined_decode(PyObject *data, PyObject *final)
{
    PyObject *definitions = imported("wscore.accel", "DEFINITIONS");
    if (definitions == NULL) {
        return NULL;
    }
    PyObject *definition = PyMapping_GetItemString(definitions, "decode");
    Py_DECREF(definitions);
    if (definition == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_CallFunctionObjArgs(definition, data, final, NULL);
    Py_DECREF(definition);
    return result;
}

PyDoc_STRVAR(decode_doc, "decode(data, final, /)\n--\n\nAs utf8.decode.");

static PyObject *
decode(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (wrong_number("decode", given, 2, 2) || no_bytes(args[0])) {
        return NULL;
    }
    const char *const bytes = PyBytes_AS_STRING(args[0]);
    const Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
    const Py_ssize_t rest = incomplete(bytes, size);
    PyObject *text = decoded(bytes, size - rest);
    if (text == NULL) {
        return PyErr_Occurred() ? NULL : defined_decode(args[0], args[1]);
    }
    if (rest) { /* whether that can become a code point, and whether it may, is not judged here */
        PyObject *end = PyBytes_FromStringAndSize(bytes + size - rest, rest);
        PyObject *judged = end == NULL ? NULL : defined_decode(end, args[1]);
        Py_XDECREF(end);
        if (judged == NULL) {
            Py_DECREF(text);
            if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
                return NULL;
            }
            PyErr_Clear();
            return defined_decode(args[0], args[1]); /* raises the same, of the whole */
        }
        Py_DECREF(judged);
    }
    return Py_BuildValue("Nn", text, size - rest);
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

/* Append the message of `size` bytes to `events`: 1, or 0 where it is no text, or -1. */
static int
append_message(const State *state, PyObject *events, int is_text, const char *from,
               Py_ssize_t size, const char *key)
{
    PyObject *payload =
        key == NULL ? PyBytes_FromStringAndSize(from, size) : masked_copy(from, size, key);
    if (payload == NULL) {
        return -1;
    }
    PyObject *text = Py_None;
    if (is_text) {
        text = decoded(PyBytes_AS_STRING(payload), size);
        if (text == NULL) {
            Py_DECREF(payload);
            return PyErr_Occurred() ? -1 : 0;
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

PyDoc_STRVAR(whole_messages_doc,
             "whole_messages(data, position, masked, limit, budget, events, /)\n--\n\n"
             "As messages.whole_messages.");

static PyObject *
whole_messages(PyObject *module, PyObject *const *args, Py_ssize_t given)
{
    if (wrong_number("whole_messages", given, 6, 6) || no_bytes(args[0])) {
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
    if (masked < 0 || PyErr_Occurred()) {
        return NULL;
    }
    if (!PyList_Check(events)) {
        PyErr_SetString(PyExc_TypeError, "events is a list");
        return NULL;
    }
    const State *const state = PyModule_GetState(module);
    const unsigned char *const data = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    const Py_ssize_t end = PyBytes_GET_SIZE(args[0]);

    for (; budget > 0 && position < end - 1; budget--) {
        const int first = data[position];
        if (first != 0x81 && first != 0x82) { /* FIN and TEXT, FIN and BINARY */
            break;
        }
        const int second = data[position + 1];
        if ((second >= 0x80) != masked) {
            break;
        }
        Py_ssize_t size = second & 0x7F;
        Py_ssize_t start = position + 2;
        if (size > 125) {
            if (size != 126 || end - start < 2) {
                break;
            }
            size = data[start] << 8 | data[start + 1];
            if (size < 126) {
                break;
            }
            start += 2;
        }
        const Py_ssize_t key = start;
        if (masked) {
            start += 4;
        }
        if (size > limit || size > end - start) {
            break;
        }
        const char *const bytes = (const char *)data;
        const int appended = append_message(state, events, first == 0x81, bytes + start, size,
                                            masked ? bytes + key : NULL);
        if (appended < 0) {
            return NULL;
        }
        if (!appended) {
            break;
        }
        position = start + size;
    }
    return PyLong_FromSsize_t(position);
}

/* The module */

static PyMethodDef methods[] = {
    {"apply_mask", (PyCFunction)(void (*)(void))apply_mask, METH_FASTCALL, apply_mask_doc},
    {"decode", (PyCFunction)(void (*)(void))decode, METH_FASTCALL, decode_doc},
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
    PyObject *piece = imported("wscore.events", "MessagePiece");
    if (state->text == NULL || state->binary == NULL || piece == NULL) {
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
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->piece);
    Py_CLEAR(state->text);
    Py_CLEAR(state->binary);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "wscore._leaves",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__leaves(void)
{
    return PyModuleDef_Init(&definition);
}
