/*
 * A PKCS#11 module that can only be initialised. It answers ANSWER, after adding the flags that it
 * was given to FLAGS_FILE, one line a call.
 *
 * With ONLY_FUNCTION_LIST it exports nothing but C_GetFunctionList, as some vendors' modules do.
 */

#include <stdio.h>
#include <string.h>

#ifdef ONLY_FUNCTION_LIST
#define EXPORTED static
#else
#define EXPORTED
#endif

enum { CKR_OK = 0, ENTRIES = 68, INITIALIZE = 0, FINALIZE = 1, GET_INFO = 2, INFO_BYTES = 82 };

struct initialize_args {
    void *mutex_callbacks[4];
    unsigned long flags;
    void *reserved;
};

struct function_list {
    unsigned char version[2];
    void *entries[ENTRIES];
};

EXPORTED unsigned long C_Initialize(const struct initialize_args *args)
{
    FILE *file = fopen(FLAGS_FILE, "a");
    fprintf(file, "%lu\n", args ? args->flags : 0);
    fclose(file);
    return ANSWER;
}

EXPORTED unsigned long C_Finalize(void *reserved)
{
    (void)reserved;
    return CKR_OK;
}

static unsigned long get_info(void *info)
{
    memset(info, 0, INFO_BYTES);
    return CKR_OK;
}

unsigned long C_GetFunctionList(struct function_list **list)
{
    static struct function_list functions = {.version = {2, 40}};
    functions.entries[INITIALIZE] = (void *)C_Initialize;
    functions.entries[FINALIZE] = (void *)C_Finalize;
    functions.entries[GET_INFO] = (void *)get_info;
    *list = &functions;
    return CKR_OK;
}
