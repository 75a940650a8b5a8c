/* The module of an extension. The file that includes this one last first defines `functions` and
`module_exec`. */

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *const state = PyModule_GetState(module);
    for (int i = 0; i < ALL_OBJECTS; i++) {
        Py_VISIT(state->held[i]);
    }
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *const state = PyModule_GetState(module);
    for (int i = 0; i < ALL_OBJECTS; i++) {
        Py_CLEAR(state->held[i]);
    }
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters /* Python 3.12 */
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil /* Python 3.13 */
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = MODULE,
    .m_size = sizeof(State),
    .m_methods = functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&definition);
}
