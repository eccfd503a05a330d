/*
 * The real module REAL_MODULE with faults on order: it stands between keysvc and the token, hands every
 * call on, and breaks what it is told to break.
 *
 * Orders stand in the file that KEYSVC_TEST_FAULTS names, one page that this module maps and the test
 * writes while keysvc runs (tests/support/faulty.py has the same layout). Each function that can be broken
 * has an order of its own: what it answers instead, for how many calls, and how long it takes. Counters go
 * the other way, so that a test sees what was called.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef unsigned long ulong;

enum {
    CKR_OK = 0,
    CKR_OPERATION_ACTIVE = 0x90,
    ENTRIES = 68, /* of CK_FUNCTION_LIST, PKCS#11 2.40 section 3.6 */
    SESSIONS = 1024,
    FOR_EVER = UINT32_MAX
};

/* One order: `answer` instead of a call, for the next `answers` calls; the next `delays` calls wait
 * `microseconds` first, or less where the test takes the delay back. */
struct order {
    uint32_t answer;
    uint32_t answers;
    uint32_t microseconds;
    uint32_t delays;
    uint32_t calls;   /* ours: how often the function was called */
    uint32_t waiting; /* ours: how many calls wait just now */
};

struct orders {
    uint32_t gone;   /* every function answers this, if it is not CKR_OK */
    uint32_t poison; /* the next so many C_Sign fail midway, and leave their sessions in the operation */
    uint32_t flip;   /* the next so many MACs have a wrong bit */
    uint32_t distance; /* microseconds that every C_Sign takes, as of a token across a network */
    struct order of[ENTRIES];
};

struct function_list {
    unsigned char version[2];
    void *entries[ENTRIES];
};

static struct orders *orders;
static struct function_list real;
static ulong poisoned[SESSIONS]; /* session handles, 0 for a free place */

/* Takes one of `left`, unless none is left. Several threads may. */
static int take(uint32_t *left)
{
    uint32_t seen = __atomic_load_n(left, __ATOMIC_SEQ_CST);
    while (seen != 0 && seen != FOR_EVER)
        if (__atomic_compare_exchange_n(left, &seen, seen - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return 1;
    return seen != 0;
}

static uint32_t now(const uint32_t *value)
{
    return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

/* Waits as long as the order says, in steps, so that the test can end it. */
static void wait_as_told(struct order *order)
{
    enum { STEP = 2000 };
    if (!take(&order->delays))
        return;
    __atomic_add_fetch(&order->waiting, 1, __ATOMIC_SEQ_CST);
    uint32_t waited = 0, left;
    while ((left = now(&order->microseconds)) > waited) {
        uint32_t step = left - waited < STEP ? left - waited : STEP;
        usleep(step);
        waited += step;
    }
    __atomic_sub_fetch(&order->waiting, 1, __ATOMIC_SEQ_CST);
}

/* What is answered instead of a call of the function in this place, or CKR_OK where it is to be made. */
static ulong told(int place)
{
    struct order *order = &orders->of[place];
    __atomic_add_fetch(&order->calls, 1, __ATOMIC_SEQ_CST);
    wait_as_told(order);
    if (now(&orders->gone) != CKR_OK)
        return now(&orders->gone);
    return take(&order->answers) ? now(&order->answer) : CKR_OK;
}

static ulong *place_of(ulong session)
{
    for (int i = 0; i < SESSIONS; i++)
        if (poisoned[i] == session)
            return &poisoned[i];
    return NULL;
}

/* Arguments of up to eight words are handed on as they came: every argument of PKCS#11 is one. */
#define WORDS ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h
typedef ulong (*function)(WORDS);

#define WRAPPED(name, place)                                                                               \
    static ulong name(WORDS)                                                                               \
    {                                                                                                      \
        ulong answer = told(place);                                                                        \
        return answer != CKR_OK ? answer : ((function)real.entries[place])(a, b, c, d, e, f, g, h);        \
    }

enum {
    INITIALIZE = 0, FINALIZE = 1, GET_SLOT_LIST = 4, GET_SLOT_INFO = 5, GET_TOKEN_INFO = 6, OPEN_SESSION = 12,
    CLOSE_SESSION = 13, LOGIN = 18, CREATE_OBJECT = 20, DESTROY_OBJECT = 22, GET_ATTRIBUTE_VALUE = 24,
    FIND_OBJECTS_INIT = 26, ENCRYPT_INIT = 29, ENCRYPT = 30, SIGN_INIT = 42, SIGN = 43, GENERATE_KEY = 58,
    WRAP_KEY = 60, UNWRAP_KEY = 61, GENERATE_RANDOM = 64
};

WRAPPED(initialize, INITIALIZE)
WRAPPED(get_slot_list, GET_SLOT_LIST)
WRAPPED(get_slot_info, GET_SLOT_INFO)
WRAPPED(get_token_info, GET_TOKEN_INFO)
WRAPPED(open_session, OPEN_SESSION)
WRAPPED(login, LOGIN)
WRAPPED(create_object, CREATE_OBJECT)
WRAPPED(destroy_object, DESTROY_OBJECT)
WRAPPED(get_attribute_value, GET_ATTRIBUTE_VALUE)
WRAPPED(find_objects_init, FIND_OBJECTS_INIT)
WRAPPED(encrypt_init, ENCRYPT_INIT)
WRAPPED(encrypt_now, ENCRYPT)
WRAPPED(generate_key, GENERATE_KEY)
WRAPPED(wrap_key, WRAP_KEY)
WRAPPED(unwrap_key, UNWRAP_KEY)
WRAPPED(generate_random, GENERATE_RANDOM)

static ulong finalize(void *reserved)
{
    ulong answer = told(FINALIZE);
    if (answer != CKR_OK)
        return answer;
    memset(poisoned, 0, sizeof poisoned); /* the numbers of sessions begin anew */
    return ((ulong (*)(void *))real.entries[FINALIZE])(reserved);
}

static ulong close_session(ulong session)
{
    ulong answer = told(CLOSE_SESSION);
    ulong *place = place_of(session);
    if (place)
        *place = 0;
    return answer != CKR_OK ? answer : ((ulong (*)(ulong))real.entries[CLOSE_SESSION])(session);
}

static ulong sign_init(ulong session, void *mechanism, ulong key)
{
    ulong answer = told(SIGN_INIT);
    if (answer != CKR_OK)
        return answer;
    if (place_of(session))
        return CKR_OPERATION_ACTIVE;
    return ((ulong (*)(ulong, void *, ulong))real.entries[SIGN_INIT])(session, mechanism, key);
}

static ulong sign(ulong session, void *data, ulong size, unsigned char *mac, ulong *mac_size)
{
    ulong answer = told(SIGN);
    if (answer != CKR_OK)
        return answer;
    if (now(&orders->distance) != 0)
        usleep(now(&orders->distance));
    if (take(&orders->poison)) {
        ulong *place = place_of(0);
        if (place)
            *place = session;
        return 0x6; /* CKR_FUNCTION_FAILED */
    }
    answer = ((ulong (*)(ulong, void *, ulong, void *, ulong *))real.entries[SIGN])(session, data, size, mac, mac_size);
    if (answer == CKR_OK && mac && take(&orders->flip))
        mac[0] ^= 1;
    return answer;
}

/* Without a file of orders everything is handed on. */
static struct orders *mapped(void)
{
    static struct orders none;
    const char *path = getenv("KEYSVC_TEST_FAULTS");
    int file = path ? open(path, O_RDWR) : -1;
    if (file < 0)
        return &none;
    void *page = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return page == MAP_FAILED ? &none : page;
}

ulong C_GetFunctionList(struct function_list **list)
{
    static struct function_list ours;
    if (!orders) {
        struct function_list *theirs;
        void *module = dlopen(REAL_MODULE, RTLD_NOW);
        ulong code = ((ulong (*)(struct function_list **))dlsym(module, "C_GetFunctionList"))(&theirs);
        if (code != CKR_OK)
            return code;
        real = ours = *theirs;
        orders = mapped();
        const struct { int place; void *wrapper; } wrappers[] = {
            {INITIALIZE, initialize}, {FINALIZE, finalize}, {GET_SLOT_LIST, get_slot_list},
            {GET_SLOT_INFO, get_slot_info}, {GET_TOKEN_INFO, get_token_info}, {OPEN_SESSION, open_session},
            {CLOSE_SESSION, close_session}, {LOGIN, login}, {CREATE_OBJECT, create_object},
            {DESTROY_OBJECT, destroy_object}, {GET_ATTRIBUTE_VALUE, get_attribute_value},
            {FIND_OBJECTS_INIT, find_objects_init}, {ENCRYPT_INIT, encrypt_init}, {ENCRYPT, encrypt_now},
            {SIGN_INIT, sign_init}, {SIGN, sign}, {GENERATE_KEY, generate_key}, {WRAP_KEY, wrap_key},
            {UNWRAP_KEY, unwrap_key}, {GENERATE_RANDOM, generate_random},
        };
        for (unsigned i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
            ours.entries[wrappers[i].place] = wrappers[i].wrapper;
    }
    *list = &ours;
    return CKR_OK;
}
