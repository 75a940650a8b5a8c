/* Methods with a shortcut in C for the usual case.

A shortcut reads the slots of objects. It returns NULL without an exception if anything is not as
usual, and has changed nothing then: the Python method, the definition, runs instead.

The file that includes this one first defines SHORTCUTS(X), a line X(class, method, given, run) for
each, where `given` is the number of its arguments, `self` included. When the class is made, what
precedes it in IMPORTS is imported. */

#define AS_SHORTCUT(class, method, given, run) {#class "." #method, class, given, run},

typedef struct {
    const char *name;
    int owner;
    Py_ssize_t given;
    PyObject *(*run)(State *state, PyObject *const *args);
} Shortcut;

static const Shortcut shortcuts[] = {SHORTCUTS(AS_SHORTCUT)};

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const Shortcut *shortcut;
    State *state; /* of the module, which the type holds */
    PyObject *definition; /* the Python method */
} Method;

static PyObject *
method_call(PyObject *object, PyObject *const *args, size_t flagged, PyObject *names)
{
    const Method *const method = (Method *)object;
    /* One argument may be given by its name, the last. */
    const int named = names != NULL && PyTuple_GET_SIZE(names) == 1 &&
                      !PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "context");
    const Py_ssize_t given = PyVectorcall_NARGS(flagged) + named;
    State *const state = method->state;
    PyTypeObject *const owner = CLASS(method->shortcut->owner);
    if ((names == NULL || named) && given == method->shortcut->given && owner != NULL &&
        PyObject_TypeCheck(args[0], owner)) {
        PyObject *result = method->shortcut->run(state, args);
        if (result != NULL || PyErr_Occurred()) {
            return result;
        }
    }
    return PyObject_Vectorcall(method->definition, args, flagged, names);
}

/* An object has a bound method; its class has the Python method itself. */
static PyObject *
method_get(PyObject *object, PyObject *instance, PyObject *Py_UNUSED(class))
{
    return instance == NULL ? Py_NewRef(((Method *)object)->definition)
                            : PyMethod_New(object, instance);
}

/* Its name, docstring and signature are those of the Python method. */
static PyObject *
method_getattr(PyObject *object, PyObject *name)
{
    return PyObject_GetAttr(((Method *)object)->definition, name);
}

static int
method_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((Method *)object)->definition);
    return 0;
}

static void
method_dealloc(PyObject *object)
{
    PyTypeObject *const type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(((Method *)object)->definition);
    type->tp_free(object);
    Py_DECREF(type);
}

/* __set_name__(owner, name): the class is made, and has its slots. */
static PyObject *
method_set_name(PyObject *object, PyObject *args)
{
    const Method *const method = (Method *)object;
    PyObject *owner, *name;
    if (!PyArg_ParseTuple(args, "O!O", &PyType_Type, &owner, &name)) {
        return NULL;
    }
    const int number = method->shortcut->owner;
    const int failed =
        import_below(method->state, number) < 0 || bind_object(method->state, number, owner) < 0;
    return failed ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef method_methods[] = {
    {"__set_name__", method_set_name, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef method_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Method, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot method_slots[] = {
    {Py_tp_call, PyVectorcall_Call},    {Py_tp_descr_get, method_get},
    {Py_tp_getattro, method_getattr},   {Py_tp_traverse, method_traverse},
    {Py_tp_dealloc, method_dealloc},    {Py_tp_methods, method_methods},
    {Py_tp_members, method_members},    {0, NULL},
};

static PyType_Spec method_spec = {
    .name = MODULE ".Method",
    .basicsize = sizeof(Method),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = method_slots,
};

/* A Method with the shortcut for the Python method `definition`. */
static PyObject *
new_method(PyObject *module, PyObject *definition)
{
    State *const state = PyModule_GetState(module);
    PyObject *name = PyObject_GetAttrString(definition, "__qualname__");
    if (name == NULL) {
        return NULL;
    }
    const Shortcut *shortcut = shortcuts;
    const Shortcut *const end = shortcut + Py_ARRAY_LENGTH(shortcuts);
    while (shortcut < end && PyUnicode_CompareWithASCIIString(name, shortcut->name)) {
        shortcut++;
    }
    Method *method = NULL;
    if (shortcut == end) {
        PyErr_Format(PyExc_ImportError, "%U has no shortcut in C: " BUILD_AGAIN, name);
    }
    else {
        method = PyObject_GC_New(Method, CLASS(METHOD_TYPE));
    }
    Py_DECREF(name);
    if (method != NULL) {
        method->vectorcall = method_call;
        method->shortcut = shortcut;
        method->state = state;
        method->definition = Py_NewRef(definition);
        PyObject_GC_Track(method);
    }
    return (PyObject *)method;
}
