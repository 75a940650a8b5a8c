/* The shortcut of a write to asyncio's transports, adapters/asyncio.py, for _speedups.c. */

#include <errno.h>
#include <string.h>
#ifndef MS_WINDOWS /* there, sockets are not files, and no pipe has a descriptor */
#include <sys/socket.h>
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* Python ignores the signal */
#endif
#endif

/* Python lets other threads run while so many bytes are written. */
enum { LONG_WRITE = 1 << 16 };

/* Whether a pipe is full; -1 for an error. To look up the attribute, twice for each client of a
broadcast, takes 250 instructions. */
static int
is_full(const State *state, PyObject *pipe)
{
    PyTypeObject *const known = CLASS(AsyncioPipe);
    if (known != NULL && PyObject_TypeCheck(pipe, known) && SLOT(pipe, AsyncioPipe_full) != NULL) {
        return SLOT(pipe, AsyncioPipe_full) != Py_False;
    }
    PyObject *full = PyObject_GetAttr(pipe, OBJECT(FULL));
    const int is_true = full == NULL ? -1 : PyObject_IsTrue(full);
    Py_XDECREF(full);
    return is_true;
}

/* Note that the stream is lost. */
static void
set_closing(const State *state, PyObject *pipe)
{
    Py_XSETREF(SLOT(pipe, AsyncioPipe__closing), Py_NewRef(Py_True));
    Py_XSETREF(SLOT(pipe, AsyncioPipe_full), Py_NewRef(Py_True));
}

/* Write through the transport. */
static PyObject *
write_to_transport(const State *state, PyObject *pipe, PyObject *data)
{
    PyObject *transport = Py_NewRef(SLOT(pipe, AsyncioPipe__transport));
    PyObject *closing = NULL;
    if (call_method(state, WRITE, transport, data) == 0) {
        closing = PyObject_VectorcallMethod(OBJECT(IS_CLOSING), &transport, 1, NULL);
    }
    const int is_closing = closing == NULL ? -1 : PyObject_IsTrue(closing);
    if (is_closing > 0) {
        set_closing(state, pipe);
    }
    Py_XDECREF(closing);
    Py_DECREF(transport);
    return is_closing < 0 ? NULL : Py_NewRef(Py_None);
}

/* The number of a descriptor, which is that or a socket; -1 if it is closed. */
static int
number_of(const State *state, PyObject *descriptor)
{
    if (holds(descriptor, &PyLong_Type)) {
        return (int)PyLong_AsLong(descriptor);
    }
    PyObject *number = PyObject_VectorcallMethod(OBJECT(FILENO), &descriptor, 1, NULL);
    const int found = holds(number, &PyLong_Type) ? (int)PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    return found;
}

/* AsyncioPipe.write(data) */
static PyObject *
write_to_pipe(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const pipe = args[0];
    PyObject *const descriptor = SLOT(pipe, AsyncioPipe__descriptor);
    if (given != 2 || !PyBytes_CheckExact(args[1]) ||
        PyBytes_GET_SIZE(args[1]) >= LONG_WRITE || SLOT(pipe, AsyncioPipe__transport) == NULL ||
        SLOT(pipe, AsyncioPipe__closing) != Py_False ||
        SLOT(pipe, AsyncioPipe__watch) != Py_None) {
        return NULL;
    }
    if (descriptor == Py_None) {
        return write_to_transport(state, pipe, args[1]);
    }
#ifndef MS_WINDOWS
    if (descriptor == NULL || SLOT(pipe, AsyncioPipe__holds) != Py_False) {
        return NULL;
    }
    const int number = number_of(state, descriptor);
    if (number < 0) { /* it is closed: Python says what follows */
        return NULL;
    }
    const char *const data = PyBytes_AS_STRING(args[1]);
    const Py_ssize_t size = PyBytes_GET_SIZE(args[1]);
    const Py_ssize_t sent = send(number, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == size) {
        return Py_NewRef(Py_None);
    }
    if (sent >= 0) {
        Py_XSETREF(SLOT(pipe, AsyncioPipe__holds), Py_NewRef(Py_True));
        PyObject *rest = PyBytes_FromStringAndSize(data + sent, size - sent);
        PyObject *result = rest == NULL ? NULL : write_to_transport(state, pipe, rest);
        Py_XDECREF(rest);
        return result;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) { /* nothing was sent */
        PyObject *error = PyObject_CallFunction(PyExc_OSError, "is", errno, strerror(errno));
        const int failed = error == NULL || call_method(state, BREAK, pipe, error) < 0;
        Py_XDECREF(error);
        return failed ? NULL : Py_NewRef(Py_None);
    }
#endif
    return NULL;
}
