/* The shortcuts of tasks on asyncio, adapters/asyncio_pipe.py and asyncio_waiter.py, for
_speedups.c. */

/* AsyncioPipe.start(coroutine, context), where Python itself can run the first step at once */
static PyObject *
start_task(State *state, PyObject *const *args)
{
#if PY_VERSION_HEX >= 0x030c0000
    PyObject *const runtime = SLOT(args[0], AsyncioPipe__runtime);
    PyObject *loop = runtime == NULL ? NULL : PyObject_GetAttr(runtime, OBJECT(NAME_loop));
    PyObject *current = loop == NULL ? NULL : PyObject_CallOneArg(OBJECT(current_task), loop);
    PyObject *task = NULL;
    if (current != NULL) {
        PyObject *const given[] = {args[1], loop, args[2], current == Py_None ? Py_True : Py_False};
        task = PyObject_Vectorcall(OBJECT(Task), given, 1, OBJECT(TASK_NAMES));
    }
    Py_XDECREF(current);
    Py_XDECREF(loop);
    PyObject *done = task == NULL ? NULL : PyObject_CallMethodNoArgs(task, OBJECT(NAME_done));
    PyObject *const kept[] = {args[0], task, args[2]};
    PyObject *result = done != Py_False
                           ? Py_XNewRef(done)
                           : PyObject_VectorcallMethod(OBJECT(NAME__keep), kept, 3, NULL);
    Py_XDECREF(done);
    Py_XDECREF(task);
    if (result != NULL) {
        Py_SETREF(result, Py_NewRef(Py_None));
    }
    return result;
#else
    return NULL;
#endif
}

/* AsyncioWaiter.add_done_callback(step, context=...), which a task calls when it waits */
static PyObject *
keep_step(State *state, PyObject *const *args)
{
    Py_XSETREF(SLOT(args[0], AsyncioWaiter__step), Py_NewRef(args[1]));
    Py_XSETREF(SLOT(args[0], AsyncioWaiter__context), Py_NewRef(args[2]));
    return Py_NewRef(Py_None);
}

/* AsyncioWaiter.wake() */
static PyObject *
wake(State *state, PyObject *const *args)
{
    PyObject *task = PyObject_CallOneArg(OBJECT(current_task), SLOT(args[0], AsyncioWaiter__loop));
    Py_XDECREF(task);
    PyObject *step = SLOT(args[0], AsyncioWaiter__step); /* that call may have taken it away */
    PyObject *context = SLOT(args[0], AsyncioWaiter__context);
    if (task != Py_None || step == NULL || context == NULL || !PyContext_CheckExact(context) ||
        PyContext_Enter(context) < 0) { /* entered already */
        PyErr_Clear();
        return NULL;
    }
    SLOT(args[0], AsyncioWaiter__step) = Py_NewRef(Py_None);
    SLOT(args[0], AsyncioWaiter__context) = Py_NewRef(Py_None);
    PyObject *result = PyObject_CallOneArg(step, SLOT(args[0], AsyncioWaiter__done));
    PyContext_Exit(context);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_RuntimeError)) { /* it cannot run now */
        PyErr_Clear();
        Py_XSETREF(SLOT(args[0], AsyncioWaiter__step), step);
        Py_XSETREF(SLOT(args[0], AsyncioWaiter__context), context);
        return PyObject_CallMethodNoArgs(args[0], OBJECT(NAME_set));
    }
    Py_DECREF(step);
    Py_DECREF(context);
    return result;
}
