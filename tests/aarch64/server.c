/* Calls functions of a shared library for a program on the other end of a pipe: the library may be for a processor
 * that only an emulator has, the program need not be.
 *
 *   server LIBRARY
 *
 * A request is three or more uint64: a command, and its arguments. Pointers are numbers, which the program computes
 * with. Both sides are little-endian with 64-bit pointers.
 *
 *   0 size                                  -> address of so many new bytes
 *   1 address size, the bytes               -> nothing: they are written there
 *   2 address size                          -> the bytes that are there
 *   3 name_size argument_count, the name, the arguments -> what the function returns, as a uint64
 *   4 address 0                             -> the length of the string there
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t (*function)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

static void stop(const char* why) {
  fprintf(stderr, "server: %s\n", why);
  exit(1);
}

static void receive(void* to, size_t size) {
  if (fread(to, 1, size, stdin) != size) stop("the request ends early");
}

static void reply(const void* from, size_t size) {
  if (fwrite(from, 1, size, stdout) != size || fflush(stdout) != 0) stop("the reply cannot be written");
}

static void reply_number(uint64_t number) { reply(&number, sizeof number); }

static uint64_t call(void* library, uint64_t name_size, uint64_t argument_count) {
  char name[64] = "";
  uint64_t a[5] = {0};
  void* symbol;
  if (name_size >= sizeof name || argument_count > 5) stop("a name or a list of arguments is too long");
  receive(name, name_size);
  receive(a, argument_count * sizeof a[0]);
  symbol = dlsym(library, name);
  if (symbol == NULL) stop(dlerror());
  return ((function)(uintptr_t)symbol)(a[0], a[1], a[2], a[3], a[4]);
}

int main(int argc, char** argv) {
  uint64_t request[3];
  void* library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
  if (library == NULL) stop(argc == 2 ? dlerror() : "names one library");
  while (fread(request, sizeof request, 1, stdin) == 1) {
    void* memory = (void*)(uintptr_t)request[1];
    switch (request[0]) {
      case 0: reply_number((uintptr_t)malloc(request[1])); break;
      case 1: receive(memory, request[2]); break;
      case 2: reply(memory, request[2]); break;
      case 3: reply_number(call(library, request[1], request[2])); break;
      case 4: reply_number(strlen(memory)); break;
      default: stop("no such command");
    }
  }
  return 0;
}
