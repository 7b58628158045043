#include "pty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <uv.h>

#include "fd.h"

static int failed(void) { return uv_translate_sys_error(errno); }

static int open_master(void) {
#ifdef __linux__
  int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
#else
  int fd = posix_openpt(O_RDWR | O_NOCTTY);
  if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
  return fd < 0 ? failed() : fd;
}

static int open_slave(int master) {
#ifdef TIOCGPTPEER
  /* By the pair, not by a path: /dev/pts may be another one here (a mount namespace, a chroot). */
  int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (fd >= 0) return fd;
  if (errno != EINVAL && errno != ENOTTY) return failed(); /* these: before Linux 4.13 */
#endif
  char path[64];
  if (!pty_slave_path(master, path, sizeof path)) return failed();
  return fd_open(path, O_RDWR | O_NOCTTY, 0);
}

int pty_open(struct pty *pty, struct pty_size size, bool echo) {
  *pty = (struct pty){.master = open_master(), .slave = -1};
  int err = pty->master < 0 ? pty->master : 0;
  if (!err && (grantpt(pty->master) || unlockpt(pty->master))) err = failed();
  if (!err) {
    pty->slave = open_slave(pty->master);
    if (pty->slave < 0) err = pty->slave;
  }
  if (!err) err = pty_resize(pty->master, size);
  if (!err && !echo) err = pty_set_echo(pty->slave, false);
  if (!err) return 0;
  fd_close(&pty->slave);
  fd_close(&pty->master);
  pty->slave = pty->master = -1;
  return err;
}

int pty_resize(int fd, struct pty_size size) {
  struct winsize wanted = {.ws_row = size.rows, .ws_col = size.columns};
  return ioctl(fd, TIOCSWINSZ, &wanted) ? failed() : 0;
}

int pty_get_size(int fd, struct pty_size *size) {
  struct winsize now;
  if (ioctl(fd, TIOCGWINSZ, &now)) return failed();
  *size = (struct pty_size){.rows = now.ws_row, .columns = now.ws_col};
  return 0;
}

int pty_echoes(int fd) {
  struct termios modes;
  if (tcgetattr(fd, &modes)) return failed();
  return (modes.c_lflag & ECHO) != 0;
}

int pty_set_echo(int fd, bool on) {
  struct termios modes;
  if (tcgetattr(fd, &modes)) return failed();
  if (on) modes.c_lflag |= ECHO;
  else modes.c_lflag &= ~(tcflag_t)ECHO;
  return tcsetattr(fd, TCSANOW, &modes) ? failed() : 0;
}

/* Whether nothing is left in the line that is being typed, after this byte. */
static bool ends_line(const struct termios *modes, int last) {
  if (last < 0 || last == '\n') return true;
  if (last == '\r') return (modes->c_iflag & ICRNL) && !(modes->c_iflag & IGNCR);
  if (last == _POSIX_VDISABLE) return false;
  const cc_t *keys = modes->c_cc;
  if (last == keys[VEOF] || last == keys[VEOL] || last == keys[VKILL]) return true;
  bool interrupts = last == keys[VINTR] || last == keys[VQUIT] || last == keys[VSUSP]; /* they drop the line */
  return interrupts && (modes->c_lflag & ISIG) && !(modes->c_lflag & NOFLSH);
}

int pty_eof_keys(int fd, int last, char keys[2]) {
  struct termios modes;
  if (tcgetattr(fd, &modes)) return failed();
  bool canonical = modes.c_lflag & ICANON;
  if (canonical && modes.c_cc[VEOF] == _POSIX_VDISABLE) return UV_ENOTSUP;
  keys[0] = keys[1] = modes.c_cc[VEOF] == _POSIX_VDISABLE ? 4 : (char)modes.c_cc[VEOF];
  return canonical && !ends_line(&modes, last) ? 2 : 1;
}

bool pty_slave_path(int fd, char *path, size_t size) {
#ifdef __linux__
  return !ptsname_r(fd, path, size); /* leaves the reason in errno */
#else
  const char *name = ptsname(fd);
  if (!name || strlen(name) >= size) return false;
  strcpy(path, name);
  return true;
#endif
}
