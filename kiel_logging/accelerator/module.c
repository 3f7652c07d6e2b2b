/* The module kiel_logging._accelerator. */

#include "accelerator.h"
#include "seal.h"

static PyMethodDef METHODS[] = {
    {"crc32c", crc32c_of, METH_VARARGS, "crc32c(data, value=0) -> int"},
    {"encode_records", encode_records, METH_VARARGS,
     "encode_records(records, base_timestamp, first_offset_delta) -> (bytes, last timestamp)"},
    {"group", group, METH_VARARGS, "group(items, routes, keyless, find) -> list"},
    {"lean_exit", lean_exit, METH_O, "lean_exit(kind) -> the __exit__() of a class of locks"},
    {"mark_items", mark_items, METH_VARARGS, "mark_items(items, run) -> None"},
    {"murmur2", murmur2, METH_O, "murmur2(key) -> int"},
    {"pack_frame", (PyCFunction)(void (*)(void))pack_frame, METH_FASTCALL,
     "pack_frame(item, waiter, seed) -> bytes | None"},
    {"scan_items", scan_items, METH_VARARGS,
     "scan_items(block, at, most, seed, topic) -> (items, ends, at)"},
    {"stamp", stamp, METH_VARARGS, "stamp(items, instance, name, sequences, careful) -> list"},
    {"take", take, METH_VARARGS,
     "take(messages, at, ends, newest, sources, plain) -> the index of the first that needs care"},
    {"to_json", to_json, METH_O, "to_json(value) -> bytes | None"},
    {"totals", totals, METH_O, "totals(items) -> (size, largest, memory)"},
    {"write_to", write_to, METH_VARARGS,
     "write_to(number, data, device, inode, offset=-1) -> int"},
    {NULL, NULL, 0, NULL},
};

/* The types are static, and what counts and queues relies on the GIL. So the module is for one
 * interpreter, and asks a free-threaded one for its GIL; a sub-interpreter does all in Python. */
static int
execute(PyObject *module)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "kiel_logging._accelerator is for the main interpreter");
        return -1;
    }
    PyTypeObject *types[] = {&QUICK_ITEM, &COUNTS, &FAST_WAY, &JOURNAL_COUNTS, &TAIL};
    for (size_t index = 0; index < sizeof(types) / sizeof(*types); index++) {
        if (PyModule_AddType(module, types[index]) < 0) {
            return -1;
        }
    }
    return can_seal() ? PyModule_AddType(module, &SEAL) : 0;
}

static PyModuleDef_Slot SLOTS[] = {
    {Py_mod_exec, (void *)execute},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030d0000
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "kiel_logging._accelerator",
    .m_doc = "The hottest loops of the package; see kiel_logging/accelerator.",
    .m_methods = METHODS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC
PyInit__accelerator(void)
{
    return PyModuleDef_Init(&MODULE);
}
