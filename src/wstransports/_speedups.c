/* The C extension: shortcuts of methods on the way of a message to its callback and back.

A shortcut does what the Python method of its name does in the usual case: whole messages for an
on_message that is not running, the output of one connection, and a broadcast to clients that have
buffer space. Python does the rest: _method.h says how. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdint.h>

#define MODULE "wstransports._speedups"
#define CLASSES(X)                                                                                 \
    X(MessagePiece, "wscore.events")                                                               \
    X(PreparedMessage, "wscore.prepared")                                                          \
    X(ServerConnection, "wscore.server")                                                           \
    X(Session, "wstransports.connection.session")                                                  \
    X(Inbox, "wstransports.receiving.inbox")                                                       \
    X(WebSocketReader, "wstransports.receiving.reader")                                            \
    X(Callbacks, "wstransports.callbacks")                                                         \
    X(Outbox, "wstransports.sending.outbox")                                                       \
    X(Batch, "wstransports.batch")                                                                 \
    X(FragmentLock, "wstransports.sending.fragment_lock")                                          \
    X(BroadcastReport, "wstransports.broadcast")                                                   \
    X(Sending, "wstransports.broadcast")                                                           \
    X(AsyncioPipe, "wstransports.adapters.asyncio")
#define SLOTS(X)                                                                                   \
    X(MessagePiece, type) X(MessagePiece, data) X(MessagePiece, text) X(MessagePiece, first)       \
    X(MessagePiece, last)                                                                          \
    X(PreparedMessage, _latest)                                                                    \
    X(ServerConnection, may_send) X(ServerConnection, _fragmenting) X(ServerConnection, _keys)     \
    X(ServerConnection, _negotiated) X(ServerConnection, _encoders) X(ServerConnection, _out)      \
    X(Session, inbox) X(Session, options) X(Session, outbox)                                       \
    X(Inbox, callback) X(Inbox, unread) X(Inbox, _waiting) X(Inbox, _arriving) X(Inbox, _workers)  \
    X(Inbox, _ending) X(Inbox, _callbacks)                                                         \
    X(WebSocketReader, data_type) X(WebSocketReader, _flow) X(WebSocketReader, _counted)           \
    X(WebSocketReader, _whole)                                                                     \
    X(Callbacks, running) X(Callbacks, context) X(Callbacks, pipe)                                 \
    X(Outbox, batch) X(Outbox, core) X(Outbox, pipe) X(Outbox, _gathered) X(Outbox, _written)      \
    X(Outbox, _now) X(Outbox, lock) X(Outbox, _congested_since)                                    \
    X(Batch, active) X(Batch, old_at) X(Batch, _waiting)                                           \
    X(FragmentLock, holder)                                                                        \
    X(BroadcastReport, sent)                                                                       \
    X(Sending, _message) X(Sending, _batch) X(Sending, _at_once) X(Sending, _options)              \
    X(Sending, _most) X(Sending, report)                                                           \
    X(AsyncioPipe, full) X(AsyncioPipe, _closing) X(AsyncioPipe, _descriptor)                      \
    X(AsyncioPipe, _holds) X(AsyncioPipe, _transport) X(AsyncioPipe, _watch)
#define NAMED(X)                                                                                   \
    X(APPEND, "append") X(BREAK, "_break") X(DATA_TO_SEND, "data_to_send") X(FAIL, "_fail")        \
    X(FILENO, "fileno") X(FULL, "full") X(IS_CLOSING, "is_closing") X(NOTE_LATE, "_note_late")     \
    X(RUN, "run") X(SEND_TO, "_send_to") X(SESSION, "_session") X(START, "start")                  \
    X(UNSENT, "unsent") X(WORK, "_work") X(WRITE, "write")
#define AS_NUMBER(number, name) number,
#define AS_NAME(number, name) name,
enum { NAMED(AS_NUMBER) NAMES, ZERO = NAMES, ONE, NOTHING, NO_TYPE, OBJECTS };
static const char *const names[] = {NAMED(AS_NAME)};

#include "../wscore/_method.h"

/* As reader.GET_LIMIT, batch.GATHER_LIMIT and frames.LARGE, in bytes. */
enum { GET_LIMIT = 1 << 20, GATHER_LIMIT = 65536, LARGE = 1 << 18 };

/* Call a method of an object, without or with one argument; returns 0, or -1 for an error. */
static int
call_method(const State *state, int name, PyObject *object, PyObject *argument)
{
    PyObject *const args[] = {object, argument};
    const size_t given = argument == NULL ? 1 : 2;
    PyObject *result = PyObject_VectorcallMethod(state->object[name], args, given, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* connection/session.py */

/* The inbox, if a callback is registered and not running, and nothing waits for it. */
static PyObject *
idle_inbox(State *state, PyObject *session)
{
    if (state->object[NOTHING] == NULL) { /* the shared queue of those who had no message yet */
        state->object[NOTHING] = imported("wstransports.receiving.inbox", "_NOTHING");
    }
    PyObject *const zero = state->object[ZERO];
    PyObject *const inbox = SLOT(session, Session_inbox);
    if (!holds(inbox, state->class[Inbox]) || SLOT(inbox, Inbox_unread) != zero ||
        SLOT(inbox, Inbox__workers) != zero || SLOT(inbox, Inbox__arriving) != Py_None ||
        SLOT(inbox, Inbox__ending) != Py_False) {
        return NULL;
    }
    PyObject *const callback = SLOT(inbox, Inbox_callback);
    PyObject *const waiting = SLOT(inbox, Inbox__waiting);
    PyObject *const callbacks = SLOT(inbox, Inbox__callbacks);
    const int idle = callback != NULL && callback != Py_None && waiting != NULL &&
                     waiting != state->object[NOTHING] && PyObject_Size(waiting) == 0 &&
                     holds(callbacks, state->class[Callbacks]) &&
                     SLOT(callbacks, Callbacks_pipe) != NULL &&
                     SLOT(callbacks, Callbacks_context) != NULL &&
                     SLOT(callbacks, Callbacks_running) != NULL;
    return idle ? inbox : NULL;
}

/* Whether it is a whole message, which its reader holds in one piece. */
static int
is_whole(const State *state, PyObject *event)
{
    if (!holds(event, state->class[MessagePiece])) {
        return 0;
    }
    PyObject *const data = SLOT(event, MessagePiece_data);
    return SLOT(event, MessagePiece_first) == Py_True &&
           SLOT(event, MessagePiece_last) == Py_True && holds(data, &PyBytes_Type) &&
           PyBytes_GET_SIZE(data) <= GET_LIMIT && SLOT(event, MessagePiece_text) != NULL &&
           SLOT(event, MessagePiece_type) != NULL;
}

/* Append a WebSocketReader for a whole message to what waits. */
static int
put_reader(const State *state, PyObject *inbox, PyObject *event)
{
    PyObject *const text = SLOT(event, MessagePiece_text);
    PyObject *reader = PyType_GenericAlloc(state->class[WebSocketReader], 0);
    if (reader == NULL) {
        return -1;
    }
    SLOT(reader, WebSocketReader_data_type) = Py_NewRef(SLOT(event, MessagePiece_type));
    SLOT(reader, WebSocketReader__flow) = Py_NewRef(inbox);
    SLOT(reader, WebSocketReader__counted) = Py_NewRef(state->object[ZERO]);
    SLOT(reader, WebSocketReader__whole) =
        Py_NewRef(text == Py_None ? SLOT(event, MessagePiece_data) : text);
    const int failed = call_method(state, APPEND, SLOT(inbox, Inbox__waiting), reader);
    Py_DECREF(reader);
    return failed;
}

/* Start the one task of on_message: `Inbox.run`, and `Callbacks.begin`. */
static int
begin_work(const State *state, PyObject *inbox)
{
    PyObject *const callbacks = SLOT(inbox, Inbox__callbacks);
    PyObject *running = PyNumber_Add(SLOT(callbacks, Callbacks_running), state->object[ONE]);
    if (running == NULL) {
        return -1;
    }
    Py_SETREF(SLOT(callbacks, Callbacks_running), running);
    Py_SETREF(SLOT(inbox, Inbox__workers), Py_NewRef(state->object[ONE]));
    PyObject *coroutine = PyObject_VectorcallMethod(state->object[WORK], &inbox, 1, NULL);
    if (coroutine == NULL) {
        return -1;
    }
    /* The task may replace what the slots hold. */
    PyObject *pipe = Py_NewRef(SLOT(callbacks, Callbacks_pipe));
    PyObject *context = Py_NewRef(SLOT(callbacks, Callbacks_context));
    PyObject *const args[] = {pipe, coroutine, context};
    PyObject *result = PyObject_VectorcallMethod(state->object[START], args, 3, NULL);
    Py_DECREF(coroutine);
    Py_DECREF(context);
    Py_DECREF(pipe);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Session.handle(events) */
static PyObject *
handle(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const inbox = given == 2 ? idle_inbox(state, args[0]) : NULL;
    if (inbox == NULL || !PyList_CheckExact(args[1])) {
        return NULL;
    }
    PyObject *const events = args[1];
    const Py_ssize_t count = PyList_GET_SIZE(events);
    Py_ssize_t whole = 0;
    while (whole < count && is_whole(state, PyList_GET_ITEM(events, whole))) {
        whole++;
    }
    if (count == 0 || whole < count) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (put_reader(state, inbox, PyList_GET_ITEM(events, i)) < 0) {
            return NULL;
        }
    }
    const int failed =
        count == 1 ? begin_work(state, inbox) : call_method(state, RUN, inbox, NULL);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* sending/outbox.py and batch.py */

/* Whether the core of an outbox has less output than so many bytes. */
static int
has_less_than(const State *state, PyObject *outbox, Py_ssize_t most)
{
    PyObject *const core = SLOT(outbox, Outbox_core);
    PyObject *unsent = core == NULL ? NULL : PyObject_GetAttr(core, state->object[UNSENT]);
    const int less = holds(unsent, &PyLong_Type) && PyLong_AsSsize_t(unsent) < most;
    Py_XDECREF(unsent);
    return less && !PyErr_Occurred();
}

/* Outbox.put(): gather output, that of this input. */
static PyObject *
put(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const outbox = args[0];
    PyObject *const batch = SLOT(outbox, Outbox_batch);
    PyObject *const pipe = SLOT(outbox, Outbox_pipe);
    if (given != 1 || pipe == NULL || !holds(batch, state->class[Batch])) {
        return NULL;
    }
    PyObject *const gathered = SLOT(outbox, Outbox__gathered);
    PyObject *const active = SLOT(batch, Batch_active);
    PyObject *const old_at = SLOT(batch, Batch_old_at);
    PyObject *const waiting = SLOT(batch, Batch__waiting);
    if (active == NULL || active == state->object[ZERO] || !holds(old_at, &PyFloat_Type) ||
        PyFloat_AS_DOUBLE(old_at) == 0.0 || !holds(waiting, &PyList_Type) ||
        !has_less_than(state, outbox, GATHER_LIMIT)) {
        return NULL;
    }
    if (gathered == Py_True && SLOT(outbox, Outbox__now) != NULL) {
        const double until = PyFloat_AS_DOUBLE(old_at);
        PyObject *now = PyObject_CallNoArgs(SLOT(outbox, Outbox__now));
        const int young = holds(now, &PyFloat_Type) && PyFloat_AS_DOUBLE(now) < until;
        Py_XDECREF(now);
        return young ? PyObject_GetAttr(pipe, state->object[FULL]) : NULL;
    }
    PyObject *full = gathered == Py_False ? PyObject_GetAttr(pipe, state->object[FULL]) : NULL;
    if (full == NULL || PyList_Append(waiting, outbox) < 0) {
        Py_XDECREF(full);
        return NULL;
    }
    Py_SETREF(SLOT(outbox, Outbox__gathered), Py_NewRef(Py_True));
    return full;
}

/* Outbox.flush(), of less than LARGE bytes. */
static int
flush(const State *state, PyObject *outbox)
{
    Py_XSETREF(SLOT(outbox, Outbox__gathered), Py_NewRef(Py_False));
    PyObject *data = PyObject_VectorcallMethod(state->object[DATA_TO_SEND],
                                               &SLOT(outbox, Outbox_core), 1, NULL);
    int failed = data == NULL;
    if (!failed && PyObject_Size(data) != 0) {
        PyObject *size = PyLong_FromSsize_t(PyObject_Size(data));
        PyObject *written =
            size == NULL ? NULL : PyNumber_Add(SLOT(outbox, Outbox__written), size);
        Py_XDECREF(size);
        failed = written == NULL;
        if (!failed) {
            Py_SETREF(SLOT(outbox, Outbox__written), written);
            failed = call_method(state, WRITE, SLOT(outbox, Outbox_pipe), data) < 0;
        }
    }
    Py_XDECREF(data);
    return failed ? -1 : 0;
}

/* Batch.end(), where the output of one connection waits. */
static PyObject *
end(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const waiting = SLOT(args[0], Batch__waiting);
    if (given != 1 || !holds(waiting, &PyList_Type) || PyList_GET_SIZE(waiting) != 1) {
        return NULL;
    }
    PyObject *outbox = PyList_GET_ITEM(waiting, 0);
    if (!holds(outbox, state->class[Outbox]) || SLOT(outbox, Outbox_pipe) == NULL ||
        SLOT(outbox, Outbox__written) == NULL || !has_less_than(state, outbox, LARGE)) {
        return NULL;
    }
    Py_INCREF(outbox);
    Py_XSETREF(SLOT(args[0], Batch_active), Py_NewRef(state->object[ZERO]));
    const int failed = PyList_SetSlice(waiting, 0, 1, NULL) < 0 || flush(state, outbox) < 0;
    Py_DECREF(outbox);
    return failed ? NULL : Py_NewRef(Py_None);
}

#include "_pipe.h"

#include "_broadcast.h"

/* The module */

static const Shortcut shortcuts[] = {
    {"Session.handle", Session,
     1 << MessagePiece | 1 << Inbox | 1 << WebSocketReader | 1 << Callbacks, handle},
    {"Outbox.put", Outbox, 0, put},
    {"Batch.end", Batch, 0, end},
    {"Sending._send", Sending,
     1 << PreparedMessage | 1 << ServerConnection | 1 << Session | 1 << Outbox | 1 << FragmentLock |
         1 << BroadcastReport,
     send_to_each},
    {"AsyncioPipe.write", AsyncioPipe, 0, write_to_pipe},
    {NULL, 0, 0, NULL},
};

static PyObject *
method(PyObject *module, PyObject *definition)
{
    return new_method(module, shortcuts, definition);
}

static PyMethodDef methods[] = {
#ifndef Py_GIL_DISABLED /* where threads may change an object while its slots are read */
    {"method", method, METH_O, "method(definition, /)\n--\n\nSee speedups.shortcuts."},
#endif
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    State *const state = PyModule_GetState(module);
    for (int i = 0; i < NAMES; i++) {
        state->object[i] = PyUnicode_InternFromString(names[i]);
    }
    state->object[ZERO] = PyLong_FromLong(0);
    state->object[ONE] = PyLong_FromLong(1);
    PyObject *types = imported("wscore.enums", "DataType");
    state->object[NO_TYPE] = types == NULL ? NULL : PyObject_GetAttrString(types, "NONE");
    Py_XDECREF(types);
    state->method = (PyTypeObject *)PyType_FromModuleAndSpec(module, &method_spec, NULL);
    return PyErr_Occurred() ? -1 : 0;
}

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = MODULE,
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&definition);
}
