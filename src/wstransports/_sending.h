/* The shortcuts of messages on their way out, sending/outbox.py and batch.py, for _speedups.c. */

/* The core of an outbox; NULL if that has slots unknown here. */
static PyObject *
sender_of(const State *state, PyObject *outbox)
{
    PyObject *const core = SLOT(outbox, Outbox_core);
    return core != NULL && PyObject_TypeCheck(core, CLASS(Sender)) ? core : NULL;
}

/* Sender.send_message */
static int
send_by_core(const State *state, PyObject *core, PyObject *data, PyObject *compress)
{
    if ((compress == Py_None || compress == Py_False) && SLOT(core, Sender_may_send) == Py_True &&
        SLOT(core, Sender__fragmenting) == OBJECT(NO_TYPE) &&
        holds(SLOT(core, Sender__out), &PyList_Type)) {
        PyObject *const args[] = {data, SLOT(core, Sender__short_below), SLOT(core, Sender__keys)};
        PyObject *frame = PyObject_Vectorcall(OBJECT(message_frame), args, 3, NULL);
        if (frame != Py_None) { /* meanwhile a signal's handler may have replaced the list */
            const int failed = frame == NULL || PyList_Append(SLOT(core, Sender__out), frame) < 0 ||
                               increase(&SLOT(core, Sender_unsent), PyBytes_GET_SIZE(frame)) < 0;
            Py_XDECREF(frame);
            return failed ? -1 : 0;
        }
        Py_DECREF(frame);
    }
    PyObject *const args[] = {core, data, compress};
    PyObject *result = PyObject_VectorcallMethod(OBJECT(NAME_send_message), args, 3, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Outbox.put, which gathers the output of this input */
static PyObject *
put(const State *state, PyObject *outbox, PyObject *core)
{
    PyObject *const batch = SLOT(outbox, Outbox_batch);
    int usual = holds(batch, CLASS(Batch)) && SLOT(batch, Batch_active) != OBJECT(ZERO) &&
                holds(SLOT(batch, Batch_old_at), &PyFloat_Type) &&
                PyFloat_AS_DOUBLE(SLOT(batch, Batch_old_at)) != 0.0 &&
                holds(SLOT(batch, Batch__waiting), &PyList_Type) &&
                PyLong_AsSsize_t(SLOT(core, Sender_unsent)) < GATHER_LIMIT;
    if (usual && PyList_GET_SIZE(SLOT(batch, Batch__waiting)) > 0) {
        const double until = PyFloat_AS_DOUBLE(SLOT(batch, Batch_old_at));
        PyObject *now = PyObject_CallNoArgs(SLOT(outbox, Outbox__now));
        usual = holds(now, &PyFloat_Type) && PyFloat_AS_DOUBLE(now) < until;
        Py_XDECREF(now);
    }
    if (usual && SLOT(outbox, Outbox__gathered) != Py_True &&
        PyList_Append(SLOT(batch, Batch__waiting), outbox) == 0) {
        Py_XSETREF(SLOT(outbox, Outbox__gathered), Py_NewRef(Py_True));
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (!usual) {
        return PyObject_VectorcallMethod(OBJECT(NAME_put), &outbox, 1, NULL);
    }
    const int full = is_full(state, SLOT(outbox, Outbox_pipe));
    return full < 0 ? NULL : PyBool_FromLong(full);
}

/* Outbox.send(data, compress) */
static PyObject *
send_message(State *state, PyObject *const *args)
{
    PyObject *const core = sender_of(state, args[0]);
    if (core == NULL || send_by_core(state, core, args[1], args[2]) < 0) {
        return NULL;
    }
    return put(state, args[0], core);
}

/* Write to the pipe of an outbox; returns 0, or -1 for an error. A call of the method would take
300 instructions more. */
static int
write_out(State *state, PyObject *outbox, PyObject *data)
{
    PyObject *const args[] = {SLOT(outbox, Outbox_pipe), data};
    const int counted = increase(&SLOT(outbox, Outbox__written), PyBytes_GET_SIZE(data)) == 0;
    const int direct = counted && holds(args[0], CLASS(AsyncioSocketPipe));
    PyObject *result = direct ? write_to_pipe(state, args) : NULL;
    Py_XDECREF(result);
    const int failed = PyErr_Occurred() ? -1 : 0;
    return result != NULL || failed ? failed : call_method(state, NAME_write, args[0], data);
}

/* Batch.end(), where a frame of one connection was gathered, which `Outbox.flush` would write. */
static PyObject *
end(State *state, PyObject *const *args)
{
    PyObject *const waiting = SLOT(args[0], Batch__waiting);
    if (length_of(waiting, &PyList_Type) != 1) {
        return NULL;
    }
    PyObject *outbox = PyList_GET_ITEM(waiting, 0);
    PyObject *const core = holds(outbox, CLASS(Outbox)) ? sender_of(state, outbox) : NULL;
    PyObject *const out = core == NULL ? NULL : SLOT(core, Sender__out);
    if (length_of(out, &PyList_Type) != 1 || !holds(PyList_GET_ITEM(out, 0), &PyBytes_Type) ||
        PyBytes_GET_SIZE(PyList_GET_ITEM(out, 0)) >= LARGE) {
        return NULL;
    }
    PyObject *data = Py_NewRef(PyList_GET_ITEM(out, 0));
    Py_INCREF(outbox);
    Py_XSETREF(SLOT(args[0], Batch_active), Py_NewRef(OBJECT(ZERO)));
    Py_XSETREF(SLOT(outbox, Outbox__gathered), Py_NewRef(Py_False));
    Py_XSETREF(SLOT(core, Sender_unsent), Py_NewRef(OBJECT(ZERO)));
    const int failed = PyList_SetSlice(waiting, 0, 1, NULL) < 0 ||
                       PyList_SetSlice(out, 0, 1, NULL) < 0 || write_out(state, outbox, data) < 0;
    Py_DECREF(outbox);
    Py_DECREF(data);
    return failed ? NULL : Py_NewRef(Py_None);
}
