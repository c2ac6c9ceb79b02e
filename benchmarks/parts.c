/* Samples which part of the kernel is running, with a timer on the process's CPU time. parts.py
   loads it before a kernel that was compiled with NZ_PARTS. */
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#define PARTS 16

volatile int nz_part;
long counts[PARTS];

static void sample(int signal) {
    (void)signal;
    counts[nz_part]++;
}

static void set_timer(int microseconds) {
    struct itimerval every = {{0, microseconds}, {0, microseconds}};
    setitimer(ITIMER_PROF, &every, NULL);
}

void begin(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = sample;
    action.sa_flags = SA_RESTART;
    sigaction(SIGPROF, &action, NULL);
    memset(counts, 0, sizeof counts);
    nz_part = 0;
    set_timer(1000);
}

void end(void) { set_timer(0); }
