/* C_SignInit and C_Sign for each of many messages (PKCS#11 2.40 sections 5.11 and 5.12): the inner loop of signer.py.
 *
 * A software token makes a MAC in four microseconds; calling it from Python costs one more. Nothing else is done here:
 * which session and key, and what a code means, is the caller's. See docs/decisions/0019.
 */
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef unsigned long CK_ULONG;

/* CK_MECHANISM (section 3.5), without a parameter. */
typedef struct {
    CK_ULONG mechanism;
    void *parameter;
    CK_ULONG parameter_size;
} Mechanism;

typedef CK_ULONG (*SignInit)(CK_ULONG session, Mechanism *mechanism, CK_ULONG key);
typedef CK_ULONG (*Sign)(CK_ULONG session, const char *data, CK_ULONG size, char *mac, CK_ULONG *mac_size);

/* What is the same for all messages. */
typedef struct {
    SignInit sign_init;
    Sign sign;
    CK_ULONG session, mechanism, key;
    int holding;
} Use;

enum {
    CKR_OK = 0,
    MOST_MAC_BYTES = 64, /* HMAC-SHA512's */
    MOST_HELD_BYTES = 64 * 1024, /* a longer message takes the token longer than it takes to get the GIL back */
};

static CK_ULONG sign_once(const Use *use, const char *data, CK_ULONG size, char *mac, CK_ULONG *mac_size)
{
    Mechanism mechanism = {use->mechanism, NULL, 0}; /* the module might spoil it */
    CK_ULONG code = use->sign_init(use->session, &mechanism, use->key);

    return code == CKR_OK ? use->sign(use->session, data, size, mac, mac_size) : code;
}

/* The MAC of a message; NULL with an exception, or with *code other than CKR_OK. */
static PyObject *mac_of(const Use *use, PyObject *message, CK_ULONG *code)
{
    char mac[MOST_MAC_BYTES], *data;
    CK_ULONG mac_size = sizeof mac;
    Py_ssize_t size;

    if (PyBytes_AsStringAndSize(message, &data, &size) < 0)
        return NULL;
    if (use->holding && size <= MOST_HELD_BYTES) {
        *code = sign_once(use, data, (CK_ULONG)size, mac, &mac_size);
    } else {
        Py_BEGIN_ALLOW_THREADS
        *code = sign_once(use, data, (CK_ULONG)size, mac, &mac_size);
        Py_END_ALLOW_THREADS
    }
    return *code == CKR_OK ? PyBytes_FromStringAndSize(mac, (Py_ssize_t)mac_size) : NULL;
}

/* Adds the MAC of each message. Ends early with an exception, or with a code other than CKR_OK. */
static CK_ULONG add_macs(const Use *use, PyObject *messages, PyObject *macs)
{
    CK_ULONG code = CKR_OK;
    PyObject *iterator = PyObject_GetIter(messages), *message;

    while (iterator != NULL && code == CKR_OK && !PyErr_Occurred() && (message = PyIter_Next(iterator)) != NULL) {
        PyObject *mac = mac_of(use, message, &code);
        if (mac != NULL)
            PyList_Append(macs, mac);
        Py_XDECREF(mac);
        Py_DECREF(message);
    }
    Py_XDECREF(iterator);
    return code;
}

static PyObject *sign_each(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Use use;
    Py_ssize_t sign_init, sign;
    PyObject *messages, *macs;
    CK_ULONG code;

    if (!PyArg_ParseTuple(arguments, "nnpkkkO:sign_each", &sign_init, &sign, &use.holding, &use.session, &use.mechanism,
                          &use.key, &messages) ||
        (macs = PyList_New(0)) == NULL)
        return NULL;
    use.sign_init = (SignInit)sign_init;
    use.sign = (Sign)sign;
    code = add_macs(&use, messages, macs);
    if (code == CKR_OK && !PyErr_Occurred())
        return macs;
    Py_DECREF(macs);
    return code == CKR_OK ? NULL : PyLong_FromUnsignedLong(code);
}

static PyMethodDef functions[] = {
    {"sign_each", sign_each, METH_VARARGS, NULL}, /* told in macs.pyi */
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "macs",
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit_macs(void)
{
    return PyModuleDef_Init(&definition);
}
