/* Methods with a shortcut in C for the usual case.

A shortcut reads the slots of an object. It returns NULL without an exception if anything is not as
usual, and has changed nothing then: the Python method, the definition, runs instead. */

#define SLOT(object, offset) (*(PyObject **)((char *)(object) + (offset)))

/* Find where the slots of those names lie in the objects of a class. */
static int
find_slots(PyTypeObject *class, const char *const *names, Py_ssize_t *offsets, int count)
{
    for (int i = 0; i < count; i++) {
        PyObject *slot = PyObject_GetAttrString((PyObject *)class, names[i]);
        if (slot == NULL) {
            return -1;
        }
        const int found = Py_IS_TYPE(slot, &PyMemberDescr_Type) &&
                          ((PyMemberDescrObject *)slot)->d_member->type == T_OBJECT_EX;
        if (found) {
            offsets[i] = ((PyMemberDescrObject *)slot)->d_member->offset;
        }
        Py_DECREF(slot);
        if (!found) {
            PyErr_Format(PyExc_ImportError, "%s has no slot %s", class->tp_name, names[i]);
            return -1;
        }
    }
    return 0;
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

/* Import a class, and find its slots. */
static PyTypeObject *
imported_class(const char *module, const char *name, const char *const *names,
               Py_ssize_t *offsets, int count)
{
    PyObject *class = imported(module, name);
    if (class != NULL && !PyType_Check(class)) {
        PyErr_Format(PyExc_ImportError, "%s is not a class", name);
        Py_CLEAR(class);
    }
    if (class != NULL && find_slots((PyTypeObject *)class, names, offsets, count) < 0) {
        Py_CLEAR(class);
    }
    return (PyTypeObject *)class;
}

/* Whether a slot holds an object of exactly this class. */
static inline int
holds(PyObject *value, PyTypeObject *class)
{
    return value != NULL && Py_IS_TYPE(value, class);
}

typedef struct {
    const char *name; /* of the method, after its class and a dot */
    int (*bind)(void *state, PyTypeObject *owner); /* the class is made: find its slots */
    PyObject *(*run)(void *state, PyObject *const *args, Py_ssize_t given); /* `self` included */
} Shortcut;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const Shortcut *shortcut;
    void *state;
    PyObject *module;     /* whose state it is */
    PyTypeObject *owner;  /* the class of the method; NULL until it is made */
    PyObject *definition; /* the Python method */
} Method;

static PyObject *
method_call(PyObject *object, PyObject *const *args, size_t flagged, PyObject *names)
{
    const Method *const method = (Method *)object;
    const Py_ssize_t given = PyVectorcall_NARGS(flagged);
    if (names == NULL && given > 0 && method->owner != NULL &&
        PyObject_TypeCheck(args[0], method->owner)) {
        PyObject *result = method->shortcut->run(method->state, args, given);
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
    if (instance == NULL || instance == Py_None) {
        return Py_NewRef(((Method *)object)->definition);
    }
    return PyMethod_New(object, instance);
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
    Method *const method = (Method *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(method->module);
    Py_VISIT(method->owner);
    Py_VISIT(method->definition);
    return 0;
}

static int
method_clear(PyObject *object)
{
    Method *const method = (Method *)object;
    Py_CLEAR(method->owner);
    Py_CLEAR(method->definition);
    return 0;
}

static void
method_dealloc(PyObject *object)
{
    PyTypeObject *const type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    method_clear(object);
    Py_CLEAR(((Method *)object)->module);
    type->tp_free(object);
    Py_DECREF(type);
}

/* __set_name__(owner, name) */
static PyObject *
method_set_name(PyObject *object, PyObject *args)
{
    Method *const method = (Method *)object;
    PyObject *owner, *name;
    if (!PyArg_ParseTuple(args, "O!O", &PyType_Type, &owner, &name) ||
        method->shortcut->bind(method->state, (PyTypeObject *)owner) < 0) {
        return NULL;
    }
    Py_XSETREF(method->owner, (PyTypeObject *)Py_NewRef(owner));
    Py_RETURN_NONE;
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
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, method_get},
    {Py_tp_getattro, method_getattr},
    {Py_tp_traverse, method_traverse},
    {Py_tp_clear, method_clear},
    {Py_tp_dealloc, method_dealloc},
    {Py_tp_methods, method_methods},
    {Py_tp_members, method_members},
    {0, NULL},
};

static PyType_Spec method_spec = {
    .name = "wscore._speedups.Method",
    .basicsize = sizeof(Method),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = method_slots,
};

/* A Method with the shortcut for the Python method `definition`. */
static PyObject *
new_method(PyTypeObject *type, PyObject *module, const Shortcut *shortcuts, PyObject *definition)
{
    PyObject *name = PyObject_GetAttrString(definition, "__qualname__");
    if (name == NULL) {
        return NULL;
    }
    const Shortcut *shortcut = shortcuts;
    while (shortcut->name != NULL && PyUnicode_CompareWithASCIIString(name, shortcut->name)) {
        shortcut++;
    }
    if (shortcut->name == NULL) {
        PyErr_Format(PyExc_ImportError, "%U has no shortcut in C", name);
    }
    Py_DECREF(name);
    Method *method = shortcut->name == NULL ? NULL : PyObject_GC_New(Method, type);
    if (method == NULL) {
        return NULL;
    }
    method->vectorcall = method_call;
    method->shortcut = shortcut;
    method->state = PyModule_GetState(module);
    method->module = Py_NewRef(module);
    method->owner = NULL;
    method->definition = Py_NewRef(definition);
    PyObject_GC_Track(method);
    return (PyObject *)method;
}
