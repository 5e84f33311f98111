/* Runs a program instruction by instruction, and writes down where in its own code it was.
 *
 *   steps FIRST LAST OUTPUT PROGRAM [ARGUMENT...]
 *
 * FIRST and LAST are hexadecimal addresses of a program that is linked to a fixed place. Processes and threads that
 * it starts are followed until they become another program. The output holds each address once, in hexadecimal.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned char *seen;
static unsigned long first, last;

static void note(pid_t pid) {
    errno = 0;
    long at = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), 0);
    unsigned long place = (unsigned long)at;
    if (errno == 0 && place >= first && place < last)
        seen[place - first] = 1;
}

/* One stop of a process that is followed; what it was stopped by is handed on where it was a signal. */
static void go_on(pid_t pid, int status, int *began) {
    int signal = WSTOPSIG(status), event = status >> 16;
    if (event == PTRACE_EVENT_EXEC && *began) {
        ptrace(PTRACE_DETACH, pid, 0, 0);
        return;
    }
    if (event == PTRACE_EVENT_EXEC)
        *began = 1;
    if (signal == SIGTRAP && event == 0)
        note(pid);
    int handed_on = signal == SIGTRAP || signal == SIGSTOP ? 0 : signal;
    ptrace(PTRACE_SINGLESTEP, pid, 0, handed_on);
}

int main(int count, char **words) {
    if (count < 5)
        return 2;
    first = strtoul(words[1], NULL, 16);
    last = strtoul(words[2], NULL, 16);
    seen = last > first ? calloc(last - first, 1) : NULL;
    FILE *output = fopen(words[3], "w");
    if (seen == NULL || output == NULL) {
        perror(words[3]);
        return 2;
    }
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execvp(words[4], words + 4);
        perror(words[4]);
        _exit(127);
    }
    int status, code = 2, began = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return 2;
    long options = PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACECLONE;
    ptrace(PTRACE_SETOPTIONS, child, 0, options);
    ptrace(PTRACE_SINGLESTEP, child, 0, 0);
    pid_t pid;
    while ((pid = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFSTOPPED(status))
            go_on(pid, status, &began);
        else if (pid == child)
            code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    }
    for (unsigned long place = first; place < last; place++)
        if (seen[place - first])
            fprintf(output, "%lx\n", place);
    return fclose(output) == 0 ? code : 2;
}
