/* The shortcut of a broadcast's way to each client, broadcast.py, for _speedups.c. */

/* Whether a server's core sends a frame for these extensions as it is, and has no other output. */
static int
sends_as_it_is(const State *state, PyObject *core, PyObject *negotiated)
{
    return holds(core, CLASS(ServerConnection)) && SLOT(core, Sender_may_send) == Py_True &&
           SLOT(core, Sender__fragmenting) == OBJECT(NO_TYPE) &&
           SLOT(core, Sender__negotiated) == negotiated &&
           length_of(SLOT(core, Sender__encoders), &PyTuple_Type) == 0 &&
           length_of(SLOT(core, Sender__out), &PyList_Type) == 0;
}

/* The outbox of a client with buffer space, if a frame for these extensions may go to it at once,
and no other output precedes it. NULL if not, or with an exception. */
static PyObject *
usual_outbox(const State *state, PyObject *sending, PyObject *client, PyObject *negotiated)
{
    PyObject *const session = holds(client, CLASS(Client)) ? SLOT(client, Client__session) : NULL;
    if (session == NULL || !PyObject_TypeCheck(session, CLASS(Session)) ||
        SLOT(session, Session_options) != SLOT(sending, Sending__options)) {
        return NULL;
    }
    PyObject *const outbox = SLOT(session, Session_outbox);
    const int usual =
        holds(outbox, CLASS(Outbox)) &&
        SLOT(outbox, Outbox_batch) == SLOT(sending, Sending__batch) &&
        holds(SLOT(outbox, Outbox_lock), CLASS(FragmentLock)) &&
        SLOT(SLOT(outbox, Outbox_lock), FragmentLock_holder) == Py_None &&
        sends_as_it_is(state, SLOT(outbox, Outbox_core), negotiated) &&
        is_full(state, SLOT(outbox, Outbox_pipe)) == 0;
    return usual ? Py_NewRef(outbox) : NULL;
}

/* Sending._fail, with the exception that is set. */
static int
fail_client(const State *state, PyObject *sending, PyObject *client)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyObject *error = raised();
    PyObject *const args[] = {sending, client, error};
    PyObject *result = PyObject_VectorcallMethod(OBJECT(NAME__fail), args, 3, NULL);
    Py_DECREF(error);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Outbox.try_send, and what follows it. Returns 0, or -1 for an error. */
static int
deliver(State *state, PyObject *sending, PyObject *client, PyObject *outbox, PyObject *frame)
{
    Py_XSETREF(SLOT(outbox, Outbox__congested_since), Py_NewRef(Py_None));
    if (write_out(state, outbox, frame) < 0) {
        return fail_client(state, sending, client);
    }
    PyObject *const report = SLOT(sending, Sending_report);
    const int full = is_full(state, SLOT(outbox, Outbox_pipe));
    if (full < 0 || PyList_Append(SLOT(report, BroadcastReport_sent), client) < 0) {
        return -1;
    }
    return full ? call_method(state, NAME__note_late, sending, client) : 0;
}

/* Sending._send(clients): clients that are not as usual get the message in Python. */
static PyObject *
send_to_each(State *state, PyObject *const *args)
{
    PyObject *const sending = args[0];
    PyObject *const message = SLOT(sending, Sending__message);
    PyObject *const report = SLOT(sending, Sending_report);
    if (!PyList_CheckExact(args[1]) || !holds(message, CLASS(PreparedMessage)) ||
        !holds(report, CLASS(BroadcastReport))) {
        return NULL;
    }
    int failed = 0;
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(args[1]); i++) {
        PyObject *client = Py_NewRef(PyList_GET_ITEM(args[1], i));
        PyObject *latest = Py_NewRef(SLOT(message, PreparedMessage__latest));
        PyObject *outbox = NULL;
        if (SLOT(sending, Sending__at_once) == Py_True &&
            SLOT(sending, Sending__most) == Py_None) {
            outbox = usual_outbox(state, sending, client, PyTuple_GET_ITEM(latest, 0));
        }
        if (outbox != NULL) {
            failed = deliver(state, sending, client, outbox, PyTuple_GET_ITEM(latest, 1));
            Py_DECREF(outbox);
        }
        else {
            failed = PyErr_Occurred() ? -1 : call_method(state, NAME__send_to, sending, client);
        }
        Py_DECREF(latest);
        Py_DECREF(client);
    }
    return failed ? NULL : Py_NewRef(Py_None);
}
