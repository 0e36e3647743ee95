/* A PKCS#11 2.40 module without cryptography, for what SoftHSM2 does not do: FLAGS are those of its only token, and with
   HANG it never answers. A login writes a line to LOG, and returns LOGIN. It has one object, a secret AES key without a
   length. TOKEN is what C_GetTokenInfo returns, and ATTRIBUTES what C_GetAttributeValue does. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef LOGIN
#define LOGIN 0xA4 /* CKR_PIN_LOCKED */
#endif
#ifndef TOKEN
#define TOKEN 0
#endif
#ifndef ATTRIBUTES
#define ATTRIBUTES 0
#endif

typedef unsigned long ulong;
typedef ulong (*function)(void);
struct version { unsigned char major, minor; };
/* CK_FUNCTION_LIST: the version and 68 functions. */
static struct { struct version version; function functions[68]; } list;

struct token_info {
    char label[32], manufacturer[32], model[16], serial[16];
    ulong flags, numbers[10];
    struct version hardware, firmware;
    char time[16];
};

static ulong initialize(void *arguments) {
    (void)arguments;
#ifdef HANG
    for (;;) sleep(60);
#endif
    return 0;
}

static ulong slots(unsigned char present, ulong *slots, ulong *count) {
    (void)present;
    if (slots) slots[0] = 7;
    *count = 1;
    return 0;
}

static ulong token(ulong slot, struct token_info *info) {
    (void)slot;
    memset(info, ' ', sizeof *info);
    memcpy(info->label, "fake", 4);
    memcpy(info->serial, SERIAL, strlen(SERIAL));
    memset(info->numbers, 0, sizeof info->numbers);
    info->flags = FLAGS;
    return TOKEN;
}

static ulong open_session(ulong slot, ulong flags, void *data, void *notify, ulong *session) {
    (void)slot, (void)flags, (void)data, (void)notify;
    *session = 1;
    return 0;
}

static ulong close_session(ulong session) {
    (void)session;
    return 0;
}

static ulong login(ulong session, ulong user, char *pin, ulong length) {
    (void)session, (void)user, (void)pin, (void)length;
    FILE *log = fopen(LOG, "a");
    fputs("login\n", log);
    fclose(log);
    return LOGIN;
}

static int was_found;

static ulong find_begin(ulong session, void *template, ulong count) {
    (void)session, (void)template, (void)count;
    was_found = 0;
    return 0;
}

static ulong find(ulong session, ulong *objects, ulong limit, ulong *count) {
    (void)session;
    *count = !was_found && limit > 0;
    if (*count) objects[0] = 9;
    was_found = 1;
    return 0;
}

static ulong find_end(ulong session) {
    (void)session;
    return 0;
}

struct attribute { ulong type; void *value; ulong length; };

static ulong attributes(ulong session, ulong object, struct attribute *attributes, ulong count) {
    (void)session, (void)object;
    ulong result = ATTRIBUTES;
    for (ulong at = 0; at < count; at++) {
        struct attribute *attribute = &attributes[at];
        ulong value;
        if (attribute->type == 0) value = 4; /* CKA_CLASS, CKO_SECRET_KEY */
        else if (attribute->type == 0x100) value = 0x1F; /* CKA_KEY_TYPE, CKK_AES */
        else {
            attribute->length = -1UL;
            if (!result) result = 0x12; /* CKR_ATTRIBUTE_TYPE_INVALID */
            continue;
        }
        if (attribute->value) memcpy(attribute->value, &value, sizeof value);
        attribute->length = sizeof value;
    }
    return result;
}

static ulong unsupported(void) { return 0x54; /* CKR_FUNCTION_NOT_SUPPORTED */ }

ulong C_GetFunctionList(void **result) {
    list.version = (struct version){2, 40};
    for (int at = 0; at < 68; at++) list.functions[at] = unsupported;
    list.functions[0] = (function)initialize;
    list.functions[4] = (function)slots;
    list.functions[6] = (function)token;
    list.functions[12] = (function)open_session;
    list.functions[13] = (function)close_session;
    list.functions[18] = (function)login;
    list.functions[24] = (function)attributes;
    list.functions[26] = (function)find_begin;
    list.functions[27] = (function)find;
    list.functions[28] = (function)find_end;
    *result = &list;
    return 0;
}
