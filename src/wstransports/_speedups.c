/* The C extension: shortcuts of methods on the way of a message to its callback and back.

A shortcut does what the Python method of its name does in the usual case: whole messages for an
on_message that is not running or for receive(), the output of one connection, and a broadcast to
clients that have buffer space. Python does the rest: _method.h says how. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdint.h>

#define MODULE "wstransports._speedups"
#define CLASSES(X)                                                                                 \
    X(Connection, "wscore.connection") X(Parser, "wscore.parser")                                  \
    X(Deadlines, "wscore.deadlines") X(Sender, "wscore.sending")                                   \
    X(PreparedMessage, "wscore.prepared") X(ServerConnection, "wscore.server")                     \
    X(Session, "wstransports.connection.session") X(Inbox, "wstransports.receiving.inbox")         \
    X(WebSocketReader, "wstransports.receiving.reader") X(Outbox, "wstransports.sending.outbox")   \
    X(FragmentLock, "wstransports.sending.fragment_lock") X(Batch, "wstransports.batch")           \
    X(BroadcastReport, "wstransports.broadcast") X(Sending, "wstransports.broadcast")              \
    X(AsyncioPipe, "wstransports.adapters.asyncio")
#define SLOTS(X)                                                                                   \
    X(Connection, _may_receive) X(Connection, _parser) X(Connection, _deadlines)                   \
    X(Connection, _keepalive_ping) X(Connection, _eof_held)                                        \
    X(Parser, _masked) X(Parser, _limit) X(Parser, max_frames) X(Parser, more) X(Parser, _rest)    \
    X(Parser, _type) X(Parser, _pending)                                                           \
    X(Deadlines, heard) X(Sender, unsent) X(Sender, may_send) X(PreparedMessage, _latest)          \
    X(ServerConnection, _fragmenting) X(ServerConnection, _keys)                                   \
    X(ServerConnection, _negotiated) X(ServerConnection, _encoders) X(ServerConnection, _out)      \
    X(Session, inbox) X(Session, core) X(Session, options) X(Session, outbox)                      \
    X(Inbox, callback) X(Inbox, unread) X(Inbox, _waiting) X(Inbox, _arriving) X(Inbox, _workers)  \
    X(Inbox, _ending) X(Inbox, _callbacks) X(Inbox, _limit) X(Inbox, _receiver)                    \
    X(Inbox, _setup_done) X(WebSocketReader, data_type) X(WebSocketReader, _flow)                  \
    X(WebSocketReader, _counted) X(WebSocketReader, _whole)                                        \
    X(Outbox, batch) X(Outbox, core) X(Outbox, pipe) X(Outbox, _gathered) X(Outbox, _written)      \
    X(Outbox, _now) X(Outbox, lock) X(Outbox, _congested_since)                                    \
    X(Batch, active) X(Batch, old_at) X(Batch, _waiting)                                           \
    X(FragmentLock, holder) X(BroadcastReport, sent)                                               \
    X(Sending, _message) X(Sending, _batch) X(Sending, _at_once) X(Sending, _options)              \
    X(Sending, _most) X(Sending, report)                                                           \
    X(AsyncioPipe, full) X(AsyncioPipe, _closing) X(AsyncioPipe, _descriptor)                      \
    X(AsyncioPipe, _holds) X(AsyncioPipe, _transport) X(AsyncioPipe, _watch)
#define NAMED(X)                                                                                   \
    X(ADD_UNREAD, "add_unread") X(BEGIN, "begin") X(BREAK, "_break")                               \
    X(DATA_TO_SEND, "data_to_send") X(EXTEND, "extend") X(FAIL, "_fail") X(FILENO, "fileno")       \
    X(FULL, "full") X(IS_CLOSING, "is_closing") X(NOTE_LATE, "_note_late") X(RUN, "run")           \
    X(SEND_TO, "_send_to") X(SESSION, "_session") X(WAKE, "wake") X(WORK, "_work") X(WRITE, "write")
#define AS_NUMBER(number, name) number,
#define AS_NAME(number, name) name,
enum { TEXT_TYPE, BINARY_TYPE, NO_TYPE, ZERO, METHOD_TYPE, ONE, NOTHING, NAMED(AS_NUMBER) OBJECTS };
enum { NAMES = NOTHING + 1 };
static const char *const names[] = {NAMED(AS_NAME)};

#include "../wscore/_method.h"
#include "../wscore/_messages.h"

/* As inbox.MESSAGE_COST, batch.GATHER_LIMIT, intake.LONG_READ and frames.LARGE, in bytes. */
enum { MESSAGE_COST = 256, GATHER_LIMIT = 1 << 16, LONG_READ = 1 << 17, LARGE = 1 << 18 };

/* Call a method of an object, without or with one argument; returns 0, or -1 for an error. */
static int
call_method(const State *state, int name, PyObject *object, PyObject *argument)
{
    PyObject *const args[] = {object, argument};
    const size_t given = argument == NULL ? 1 : 2;
    PyObject *result = PyObject_VectorcallMethod(OBJECT(name), args, given, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* receiving/inbox.py */

/* The inbox, if on_message is registered and not running, and nothing waits for it; or if a task
waits in receive(), or handles what that returned before on_connection has ended. */
static PyObject *
idle_inbox(State *state, PyObject *session)
{
    if (OBJECT(NOTHING) == NULL) { /* the queue that inboxes without a message share */
        OBJECT(NOTHING) = imported("wstransports.receiving.inbox", "_NOTHING");
    }
    PyObject *const zero = OBJECT(ZERO);
    PyObject *const inbox = SLOT(session, Session_inbox);
    if (!holds(inbox, CLASS(Inbox)) || SLOT(inbox, Inbox__arriving) != Py_None ||
        SLOT(inbox, Inbox__ending) != Py_False || SLOT(inbox, Inbox__workers) != zero ||
        SLOT(inbox, Inbox__waiting) == NULL ||
        SLOT(inbox, Inbox__waiting) == OBJECT(NOTHING)) {
        return NULL;
    }
    const int idle = SLOT(inbox, Inbox_callback) == Py_None
                         ? SLOT(inbox, Inbox__receiver) != Py_None ||
                               SLOT(inbox, Inbox__setup_done) == Py_False
                         : SLOT(inbox, Inbox_unread) == zero &&
                               PyObject_Size(SLOT(inbox, Inbox__waiting)) == 0;
    return idle ? inbox : NULL;
}

/* What was taken of the input. */
typedef struct {
    PyObject *inbox;
    PyObject *readers; /* a list */
    Py_ssize_t unread; /* bytes that wait in receive() with these, which on_message takes at once */
    Py_ssize_t most;   /* above so many, reading pauses */
} Taken;

/* Append a WebSocketReader for a whole message, as a Take. */
static int
take_reader(const State *state, void *to, int is_text, PyObject *payload)
{
    Taken *const taken = to;
    Py_ssize_t counted = 0;
    if (SLOT(taken->inbox, Inbox_callback) == Py_None) {
        counted = MESSAGE_COST + PyBytes_GET_SIZE(payload);
        taken->unread += counted;
    }
    PyObject *text;
    const int done = text_of(is_text, payload, &text);
    if (done <= 0) {
        return done;
    }
    PyObject *const whole = is_text ? text : payload;
    Py_DECREF(is_text ? payload : text);
    PyObject *reader = PyType_GenericAlloc(CLASS(WebSocketReader), 0);
    if (reader == NULL) {
        Py_DECREF(whole);
        return -1;
    }
    PyObject *const type = OBJECT(is_text ? TEXT_TYPE : BINARY_TYPE);
    SLOT(reader, WebSocketReader_data_type) = Py_NewRef(type);
    SLOT(reader, WebSocketReader__flow) = Py_NewRef(taken->inbox);
    SLOT(reader, WebSocketReader__counted) = PyLong_FromSsize_t(counted);
    SLOT(reader, WebSocketReader__whole) = whole;
    const int failed = PyList_Append(taken->readers, reader);
    Py_DECREF(reader);
    return failed ? -1 : 1;
}

/* Start the one task of on_message, as `Inbox.run` does. */
static int
begin_work(const State *state, PyObject *inbox)
{
    Py_SETREF(SLOT(inbox, Inbox__workers), Py_NewRef(OBJECT(ONE)));
    PyObject *coroutine = PyObject_VectorcallMethod(OBJECT(WORK), &inbox, 1, NULL);
    const int failed =
        coroutine == NULL ||
        call_method(state, BEGIN, SLOT(inbox, Inbox__callbacks), coroutine) < 0;
    Py_XDECREF(coroutine);
    return failed ? -1 : 0;
}

/* `Inbox.put` for each reader, and `Inbox.run`. */
static int
deliver_all(const State *state, const Taken *taken)
{
    PyObject *const inbox = taken->inbox;
    if (call_method(state, EXTEND, SLOT(inbox, Inbox__waiting), taken->readers) < 0) {
        return -1;
    }
    if (SLOT(inbox, Inbox_callback) != Py_None) {
        return PyList_GET_SIZE(taken->readers) == 1 ? begin_work(state, inbox)
                                                    : call_method(state, RUN, inbox, NULL);
    }
    PyObject *unread = PyLong_FromSsize_t(taken->unread);
    if (unread == NULL) {
        return -1;
    }
    Py_SETREF(SLOT(inbox, Inbox_unread), unread);
    if (taken->unread > taken->most && call_method(state, ADD_UNREAD, inbox, OBJECT(ZERO)) < 0) {
        return -1;
    }
    PyObject *const receiver = SLOT(inbox, Inbox__receiver);
    return receiver == Py_None ? 0 : call_method(state, WAKE, receiver, NULL);
}

/* connection/session.py */

/* Session._take(data, now), of whole messages, for which a task waits */
static PyObject *
take(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const core = SLOT(args[0], Session_core);
    if (given != 3 || !holds(args[0], CLASS(Session)) || core == NULL ||
        !PyObject_TypeCheck(core, CLASS(Connection)) || PyObject_Size(args[1]) >= LONG_READ) {
        return NULL;
    }
    PyObject *const parser = idle_parser(state, core);
    Taken taken = {idle_inbox(state, args[0]), NULL, 0, 0};
    if (parser == NULL || taken.inbox == NULL) {
        return NULL;
    }
    taken.unread = PyLong_AsSsize_t(SLOT(taken.inbox, Inbox_unread));
    taken.most = PyLong_AsSsize_t(SLOT(taken.inbox, Inbox__limit));
    taken.readers = PyErr_Occurred() ? NULL : PyList_New(0);
    int done = taken.readers != NULL &&
               take_messages(state, parser, args[1], take_reader, &taken) > 0 &&
               (taken.unread <= taken.most || SLOT(core, Sender_may_send) == Py_True);
    if (done) {
        heard(state, core, args[2]);
        done = deliver_all(state, &taken) == 0;
    }
    Py_XDECREF(taken.readers);
    return done ? Py_NewRef(Py_None) : NULL;
}

/* sending/outbox.py and batch.py */

/* Whether the core of an outbox has less output than so many bytes. */
static int
has_less_than(const State *state, PyObject *outbox, Py_ssize_t most)
{
    PyObject *const core = SLOT(outbox, Outbox_core);
    if (core == NULL || !PyObject_TypeCheck(core, CLASS(Sender))) {
        return 0;
    }
    PyObject *const unsent = SLOT(core, Sender_unsent);
    return holds(unsent, &PyLong_Type) && PyLong_AsSsize_t(unsent) < most && !PyErr_Occurred();
}

/* Outbox.put(): gather output, that of this input. */
static PyObject *
put(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const outbox = args[0];
    PyObject *const batch = SLOT(outbox, Outbox_batch);
    PyObject *const pipe = SLOT(outbox, Outbox_pipe);
    if (given != 1 || pipe == NULL || !holds(batch, CLASS(Batch))) {
        return NULL;
    }
    PyObject *const gathered = SLOT(outbox, Outbox__gathered);
    PyObject *const active = SLOT(batch, Batch_active);
    PyObject *const old_at = SLOT(batch, Batch_old_at);
    PyObject *const waiting = SLOT(batch, Batch__waiting);
    if (active == NULL || active == OBJECT(ZERO) || !holds(old_at, &PyFloat_Type) ||
        PyFloat_AS_DOUBLE(old_at) == 0.0 || !holds(waiting, &PyList_Type) ||
        !has_less_than(state, outbox, GATHER_LIMIT)) {
        return NULL;
    }
    if (PyList_GET_SIZE(waiting) > 0) {
        const double until = PyFloat_AS_DOUBLE(old_at);
        PyObject *const clock = SLOT(outbox, Outbox__now);
        PyObject *now = clock == NULL ? NULL : PyObject_CallNoArgs(clock);
        const int young = holds(now, &PyFloat_Type) && PyFloat_AS_DOUBLE(now) < until;
        Py_XDECREF(now);
        if (!young) {
            return NULL;
        }
    }
    const int first = gathered == Py_False;
    PyObject *full = first || gathered == Py_True ? PyObject_GetAttr(pipe, OBJECT(FULL)) : NULL;
    if (full != NULL && first) {
        if (PyList_Append(waiting, outbox) < 0) {
            Py_DECREF(full);
            return NULL;
        }
        Py_SETREF(SLOT(outbox, Outbox__gathered), Py_NewRef(Py_True));
    }
    return full;
}

/* Outbox.flush(), of less than LARGE bytes. */
static int
flush(const State *state, PyObject *outbox)
{
    Py_XSETREF(SLOT(outbox, Outbox__gathered), Py_NewRef(Py_False));
    PyObject *data = PyObject_VectorcallMethod(OBJECT(DATA_TO_SEND),
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
    if (!holds(outbox, CLASS(Outbox)) || SLOT(outbox, Outbox_pipe) == NULL ||
        SLOT(outbox, Outbox__written) == NULL || !has_less_than(state, outbox, LARGE)) {
        return NULL;
    }
    Py_INCREF(outbox);
    Py_XSETREF(SLOT(args[0], Batch_active), Py_NewRef(OBJECT(ZERO)));
    const int failed = PyList_SetSlice(waiting, 0, 1, NULL) < 0 || flush(state, outbox) < 0;
    Py_DECREF(outbox);
    return failed ? NULL : Py_NewRef(Py_None);
}

#include "_pipe.h"

#include "_broadcast.h"

/* The module */

static const Shortcut shortcuts[] = {
    {"Session._take", Session,
     1 << Connection | 1 << Sender | 1 << Parser | 1 << Deadlines | 1 << Inbox |
         1 << WebSocketReader,
     take},
    {"Outbox.put", Outbox, 1 << Sender, put},
    {"Batch.end", Batch, 0, end},
    {"Sending._send", Sending,
     1 << PreparedMessage | 1 << Sender | 1 << ServerConnection | 1 << Session | 1 << Outbox |
         1 << FragmentLock | 1 << BroadcastReport,
     send_to_each},
    {"AsyncioPipe.write", AsyncioPipe, 0, write_to_pipe},
    {NULL, 0, 0, NULL},
};

static PyMethodDef methods[] = {
    METHOD
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    State *const state = PyModule_GetState(module);
    for (int i = NAMES; i < OBJECTS; i++) {
        OBJECT(i) = PyUnicode_InternFromString(names[i - NAMES]);
    }
    bind_objects(state, module);
    OBJECT(ONE) = PyLong_FromLong(1);
    return PyErr_Occurred() ? -1 : 0;
}

#include "../wscore/_module.h"
