/* Shortcuts of connection.py and sending.py, for _speedups.c. */

/* Connection.receive_data(data, now) */
static PyObject *
receive_data(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const parser = given == 3 ? idle_parser(state, args[0]) : NULL;
    PyObject *events = parser == NULL ? NULL : PyList_New(0);
    if (events != NULL && take_messages(state, parser, args[1], append_message, events) <= 0) {
        Py_CLEAR(events);
    }
    if (events != NULL) {
        heard(state, args[0], args[2]);
    }
    return events;
}

/* Sender.send_message(data, compress=None) */
static PyObject *
send_message(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const sender = args[0];
    PyObject *const below = SLOT(sender, Sender__short_below);
    PyObject *const out = SLOT(sender, Sender__out);
    PyObject *const unsent = SLOT(sender, Sender_unsent);
    PyObject *const keys = SLOT(sender, Sender__keys);
    if (given < 2 || given > 3 || (given == 3 && args[2] != Py_None && args[2] != Py_False) ||
        SLOT(sender, Sender_may_send) != Py_True ||
        SLOT(sender, Sender__fragmenting) != OBJECT(NO_TYPE) ||
        !holds(below, &PyLong_Type) || !holds(out, &PyList_Type) || !holds(unsent, &PyLong_Type) ||
        keys == NULL) {
        return NULL;
    }
    const Py_ssize_t limit = PyLong_AsSsize_t(below);
    const Py_ssize_t before = PyLong_AsSsize_t(unsent);
    PyObject *frame = PyErr_Occurred() ? NULL : framed(args[1], limit, keys);
    if (frame == NULL || frame == Py_None) {
        Py_XDECREF(frame);
        return NULL;
    }
    PyObject *size = PyLong_FromSsize_t(before + PyBytes_GET_SIZE(frame));
    const int failed = size == NULL || PyList_Append(out, frame) < 0;
    Py_DECREF(frame);
    if (failed) {
        Py_XDECREF(size);
        return NULL;
    }
    Py_SETREF(SLOT(sender, Sender_unsent), size);
    Py_RETURN_NONE;
}

/* Sender.data_to_send() */
static PyObject *
data_to_send(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const out = SLOT(args[0], Sender__out);
    if (given != 1 || !holds(out, &PyList_Type) || PyList_GET_SIZE(out) != 1) {
        return NULL;
    }
    PyObject *data = Py_NewRef(PyList_GET_ITEM(out, 0));
    if (PyList_SetSlice(out, 0, 1, NULL) < 0) {
        Py_DECREF(data);
        return NULL;
    }
    Py_XSETREF(SLOT(args[0], Sender_unsent), Py_NewRef(OBJECT(ZERO)));
    return data;
}

static const Shortcut shortcuts[] = {
    {"Connection.receive_data", Connection, 1 << Parser | 1 << Deadlines, receive_data},
    {"Sender.send_message", Sender, 0, send_message},
    {"Sender.data_to_send", Sender, 0, data_to_send},
    {NULL, 0, 0, NULL},
};
