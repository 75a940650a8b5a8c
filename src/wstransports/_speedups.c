/* The C extension: shortcuts of methods on the way of a message to its callback and back.

A shortcut does what the Python method of its name does in the usual case: whole messages for an
on_message that is not running or for receive(), their tasks on asyncio, the output of one
connection, and a broadcast to clients that have buffer space. Python does the rest: _method.h says
how. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <string.h>

#define MODULE "wstransports._speedups"
/* What a file imports precedes what it defines. */
#define IMPORTS(X)                                                                                 \
    X(message_frame, "wscore.frames") X(Parser, "wscore.parser") X(Deadlines, "wscore.deadlines")  \
    X(PreparedMessage, "wscore.prepared") X(Sender, "wscore.sending")                              \
    X(Connection, "wscore.connection") X(ServerConnection, "wscore.server")                        \
    X(GATHER_SECONDS, "wstransports.batch") X(Batch, "wstransports.batch")                         \
    X(Callbacks, "wstransports.callbacks") X(WebSocketReader, "wstransports.receiving.reader")     \
    X(NO_MESSAGES, "wstransports.receiving.inbox") X(Inbox, "wstransports.receiving.inbox")        \
    X(FragmentLock, "wstransports.sending.fragment_lock") X(Outbox, "wstransports.sending.outbox") \
    X(Session, "wstransports.connection.session") X(Client, "wstransports.client")                 \
    X(BroadcastReport, "wstransports.broadcast") X(Sending, "wstransports.broadcast")              \
    X(current_task, "asyncio") X(AsyncioWaiter, "wstransports.adapters.asyncio_waiter")            \
    X(DirectWrites, "wstransports.adapters.direct_writes") X(Task, "asyncio")                      \
    X(AsyncioPipe, "wstransports.adapters.asyncio_pipe")                                           \
    X(AsyncioSocketPipe, "wstransports.adapters.asyncio_socket")
#define SLOTS(X)                                                                                   \
    X(Parser, _masked) X(Parser, _limit) X(Parser, max_frames) X(Parser, _rest) X(Parser, _type)   \
    X(Deadlines, heard) X(PreparedMessage, _latest) X(Sender, may_send) X(Sender, _fragmenting)    \
    X(Sender, _short_below) X(Sender, _keys) X(Sender, _negotiated) X(Sender, _encoders)           \
    X(Sender, _out) X(Sender, unsent) X(Connection, _may_receive) X(Connection, _parser)           \
    X(Connection, _deadlines) X(Batch, active) X(Batch, old_at) X(Batch, quiet) X(Batch, _waiting) \
    X(WebSocketReader, data_type) X(WebSocketReader, _flow) X(WebSocketReader, _counted)           \
    X(WebSocketReader, _whole) X(Inbox, callback) X(Inbox, unread) X(Inbox, _waiting)              \
    X(Inbox, _workers) X(Inbox, _max_workers) X(Inbox, _ending) X(Inbox, _limit)                   \
    X(Inbox, _receiver) X(Inbox, _callbacks) X(Callbacks, closing) X(Callbacks, context)           \
    X(Callbacks, pipe) X(Callbacks, running) X(FragmentLock, holder) X(Outbox, batch)              \
    X(Outbox, core) X(Outbox, pipe) X(Outbox, _gathered) X(Outbox, _written) X(Outbox, _now)       \
    X(Outbox, lock) X(Outbox, _congested_since) X(Session, inbox) X(Session, options)              \
    X(Session, core) X(Session, outbox) X(Session, _now) X(Session, callbacks) X(Client, _session) \
    X(BroadcastReport, sent) X(Sending, _message) X(Sending, _batch) X(Sending, _at_once)          \
    X(Sending, _options) X(Sending, _most) X(Sending, report) X(AsyncioWaiter, _done)              \
    X(AsyncioWaiter, _loop) X(AsyncioWaiter, _step) X(AsyncioWaiter, _context)                     \
    X(DirectWrites, full) X(DirectWrites, _closing) X(DirectWrites, _descriptor)                   \
    X(DirectWrites, _holds) X(DirectWrites, _unsure) X(AsyncioPipe, _runtime)                      \
    X(AsyncioPipe, _sink) X(AsyncioSocketPipe, _buffer) X(AsyncioSocketPipe, _forgets)
#define NAMES(X)                                                                                   \
    X(_fail) X(_input_failed) X(_keep) X(_note_late) X(_send_to) X(_take_long) X(_watch_again)     \
    X(_work) X(add_unread) X(advance_close) X(append) X(data_received) X(done) X(end) X(extend)    \
    X(full) X(loop) X(put) X(receive) X(run) X(send_message) X(set) X(start) X(wake) X(write)
#define OTHERS TEXT_TYPE, BINARY_TYPE, NO_TYPE, ZERO, METHOD_TYPE, TASK_NAMES,

#include "../wscore/_state.h"
#include "../wscore/_messages.h"

/* In bytes, as inbox.MESSAGE_COST, asyncio_socket.SHORT_READ, batch.GATHER_LIMIT, intake.LONG_READ
and frames.LARGE. */
enum { MESSAGE_COST = 256, SHORT_READ = 1 << 15, GATHER_LIMIT = 1 << 16 };
enum { LONG_READ = 1 << 17, LARGE = 1 << 18 };

/* The length of a list, tuple or bytes; -1 for an object of any other class than this. */
static inline Py_ssize_t
length_of(PyObject *value, PyTypeObject *class)
{
    return holds(value, class) ? Py_SIZE(value) : -1;
}

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

/* Add to an int, such as one in a slot; returns 0, or -1 for an error. */
static int
increase(PyObject **number, Py_ssize_t by)
{
    /* 64 bits: where Py_ssize_t has 32, more may be written. */
    const long long before = PyLong_AsLongLong(*number);
    PyObject *sum = PyErr_Occurred() ? NULL : PyLong_FromLongLong(before + by);
    if (sum == NULL) {
        return -1;
    }
    Py_SETREF(*number, sum);
    return 0;
}

/* The exception that is set, which it is not any more. */
static PyObject *
raised(void)
{
#if PY_VERSION_HEX < 0x030c0000
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyException_SetTraceback(error, traceback == NULL ? Py_None : traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return error;
#else
    return PyErr_GetRaisedException();
#endif
}

#include "_pipe.h"

#include "_tasks.h"

#include "_receiving.h"

#include "_sending.h"

#include "_broadcast.h"

/* The module */

#define SHORTCUTS(X)                                                                               \
    X(Session, data_received, 2, receive_data)                                                     \
    X(Outbox, send, 3, send_message)                                                               \
    X(Batch, end, 1, end)                                                                          \
    X(Sending, _send, 2, send_to_each)                                                             \
    X(AsyncioPipe, start, 3, start_task)                                                           \
    X(DirectWrites, write, 2, write_to_pipe)                                                       \
    X(AsyncioSocketPipe, _readable, 1, read_socket)                                                \
    X(Client, __anext__, 1, next_message)                                                          \
    X(AsyncioWaiter, add_done_callback, 3, keep_step)                                              \
    X(AsyncioWaiter, wake, 1, wake)

#include "_method.h"

static PyMethodDef functions[] = {
#ifndef Py_GIL_DISABLED /* there, threads may change an object while it is read */
    {"method", new_method, METH_O, "method(definition, /)\n--\n\nSee speedups.accelerated_method."},
#endif
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    State *const state = PyModule_GetState(module);
    NAMES(INTERN)
    keep_types(state);
    OBJECT(ZERO) = PyLong_FromLong(0);
    OBJECT(TASK_NAMES) = Py_BuildValue("(sss)", "loop", "context", "eager_start");
    OBJECT(METHOD_TYPE) = PyType_FromModuleAndSpec(module, &method_spec, NULL);
    return PyErr_Occurred() ? -1 : 0;
}

#include "../wscore/_module.h"
