/*
 * The real module REAL_MODULE with its logins counted: every C_Login adds a line to LOGINS_FILE and
 * is passed on. Tokens lock after a few wrong PINs, so how often one is given must be known exactly.
 */

#include <dlfcn.h>
#include <stdio.h>

enum { CKR_OK = 0, ENTRIES = 68, LOGIN = 18 };

struct function_list {
    unsigned char version[2];
    void *entries[ENTRIES];
};

typedef unsigned long (*login)(unsigned long session, unsigned long user, unsigned char *pin, unsigned long size);

typedef unsigned long (*get_function_list)(struct function_list **list);

static login real_login;

static unsigned long counted_login(unsigned long session, unsigned long user, unsigned char *pin, unsigned long size)
{
    FILE *file = fopen(LOGINS_FILE, "a");
    fprintf(file, "login\n");
    fclose(file);
    return real_login(session, user, pin, size);
}

unsigned long C_GetFunctionList(struct function_list **list)
{
    static struct function_list functions;
    struct function_list *theirs;
    void *module = dlopen(REAL_MODULE, RTLD_NOW);
    unsigned long code = ((get_function_list)dlsym(module, "C_GetFunctionList"))(&theirs);
    if (code != CKR_OK)
        return code;
    functions = *theirs;
    real_login = (login)theirs->entries[LOGIN];
    functions.entries[LOGIN] = (void *)counted_login;
    *list = &functions;
    return CKR_OK;
}
