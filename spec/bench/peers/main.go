// The workloads in Go: main LIMIT WORKLOAD SIZE. Prints what limit.c prints.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	parallel = 4
	long     = 1000 * time.Second
	nap      = 3 * time.Second
)

var (
	limit, size string
	number      int // the same as size
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "go:", err)
		os.Exit(1)
	}
}

// The clock

var (
	started, stopped  time.Time
	cpuStart, cpuStop float64
	memory            string // instead of the peak
)

func cpu() float64 {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// begin is called again by a workload that has something to prepare, end by one that has something to clean up.
func begin() { cpuStart, started = cpu(), time.Now() }

func end() {
	if stopped.IsZero() {
		stopped, cpuStop = time.Now(), cpu()
	}
}

// kib is the sum of the lines that begin so in a file of /proc/self.
func kib(file, prefix string) int {
	text, err := os.ReadFile("/proc/self/" + file)
	must(err)
	sum := 0
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, prefix) {
			n, err := strconv.Atoi(strings.Fields(line)[1])
			must(err)
			sum += n
		}
	}
	return sum
}

func private() int { return kib("smaps_rollup", "Private_") }

func eachCosts(kib int) { memory = fmt.Sprint(kib * 1024 / number) }

// Processes

// command has no stdin, and the stdout and stderr of this program.
func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

// endedWell tells whether it ended with 0; that it could not be started at all is our failure.
func endedWell(cmd *exec.Cmd) bool {
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		must(err)
	}
	return err == nil
}

func pool(n int, job func(i int)) {
	var group sync.WaitGroup
	indices := make(chan int)
	for w := 0; w < parallel; w++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range indices {
				job(i)
			}
		}()
	}
	for i := 1; i <= n; i++ {
		indices <- i
	}
	close(indices)
	group.Wait()
}

func spawn() string {
	var good int64
	pool(number, func(int) {
		if endedWell(command("/bin/true")) {
			atomic.AddInt64(&good, 1)
		}
	})
	return fmt.Sprint(good)
}

func spawnHeap() string {
	heap := make([][]byte, 1<<20)
	for i := range heap {
		heap[i] = bytes.Repeat([]byte{byte(i)}, 1024)
		copy(heap[i], strconv.Itoa(i))
	}
	begin()
	check := spawn()
	end()
	runtime.KeepAlive(heap)
	return check
}

func capture(argv ...string) string {
	var total int64
	pool(number, func(int) {
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		must(err)
		atomic.AddInt64(&total, int64(len(out)))
	})
	return fmt.Sprint(total)
}

func startMany(n int, start func() *exec.Cmd) []*exec.Cmd {
	cmds := make([]*exec.Cmd, n)
	for i := range cmds {
		cmds[i] = start()
		must(cmds[i].Start())
	}
	return cmds
}

func killAll(cmds []*exec.Cmd) {
	for _, cmd := range cmds {
		must(cmd.Process.Kill())
	}
	for _, cmd := range cmds {
		cmd.Wait() // says that it was killed
	}
}

func bare() *exec.Cmd { return command(limit, "idle") }

func piped() *exec.Cmd {
	cmd := exec.Command(limit, "idle")
	_, err := cmd.StdinPipe()
	must(err)
	_, err = cmd.StdoutPipe()
	must(err)
	_, err = cmd.StderrPipe()
	must(err)
	return cmd
}

func churn() string {
	others := startMany(5000, bare)
	begin()
	check := spawn()
	end()
	killAll(others)
	return check
}

func idle(start func() *exec.Cmd) string {
	before := private()
	cmds := startMany(number, start)
	end()
	eachCosts(private() - before)
	killAll(cmds)
	return size
}

// Those that do not yet wait after a second find the FIFO open.
func storm() string {
	directory, err := os.MkdirTemp("", "corun-bench-")
	must(err)
	defer os.RemoveAll(directory)
	fifo := filepath.Join(directory, "fifo")
	must(syscall.Mkfifo(fifo, 0o600))
	cmds := startMany(number, func() *exec.Cmd { return command(limit, "hold", fifo) })
	time.Sleep(time.Second)
	begin()
	open, err := os.OpenFile(fifo, os.O_RDWR, 0)
	must(err)
	for _, cmd := range cmds {
		must(cmd.Wait())
	}
	end()
	must(open.Close())
	return fmt.Sprint(len(cmds))
}

func jobs() string {
	type result struct {
		name string
		good bool
	}
	results := make(chan result, parallel)
	go func() {
		pool(number, func(i int) { results <- result{fmt.Sprint("job ", i), endedWell(command("/bin/true"))} })
		close(results)
	}()
	byName := make(map[string]bool, number)
	for r := range results {
		byName[r.name] = r.good
	}
	good := 0
	for _, ok := range byName {
		if ok {
			good++
		}
	}
	return fmt.Sprint(good)
}

func compile() string {
	directory := os.Getenv("COMPILE_DIR")
	var good int64
	pool(number, func(i int) {
		cmd := command("cc", "-O1", "-c", fmt.Sprint(i, ".c"), "-o", fmt.Sprint(i, ".o"))
		cmd.Dir = directory
		if endedWell(cmd) {
			atomic.AddInt64(&good, 1)
		}
	})
	return fmt.Sprint(good)
}

// Streams

func producer(mode string) (*exec.Cmd, io.Reader) {
	cmd := exec.Command(limit, mode, size)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	return cmd, out
}

func eachBlock(out io.Reader, fn func([]byte)) {
	block := make([]byte, 65536)
	for {
		n, err := out.Read(block)
		fn(block[:n])
		if err == io.EOF {
			return
		}
		must(err)
	}
}

var kept string // so that a line's string is made

func eachLine(fn func(line []byte)) {
	cmd, out := producer("produce-lines")
	scan := bufio.NewScanner(out)
	scan.Buffer(make([]byte, 65536), 1<<20)
	for scan.Scan() {
		fn(scan.Bytes())
	}
	must(scan.Err())
	must(cmd.Wait())
}

func lines() string {
	count, total := 0, 0
	eachLine(func(line []byte) {
		kept = string(line)
		count++
		total += len(kept)
	})
	return fmt.Sprintf("%d:%d", count, total)
}

func count() string {
	count, newline := 0, []byte("\n")
	cmd, out := producer("produce-lines")
	eachBlock(out, func(block []byte) { count += bytes.Count(block, newline) })
	must(cmd.Wait())
	return fmt.Sprint(count)
}

func countScanner() string {
	count := 0
	eachLine(func([]byte) { count++ })
	return fmt.Sprint(count)
}

func grep() string {
	count, total, needle := 0, 0, []byte("needle")
	eachLine(func(line []byte) {
		if bytes.Contains(line, needle) {
			kept = string(line)
			count++
			total += len(kept)
		}
	})
	return fmt.Sprintf("%d:%d", count, total)
}

func read() string {
	total := 0
	cmd, out := producer("produce")
	eachBlock(out, func(block []byte) { total += len(block) })
	must(cmd.Wait())
	return fmt.Sprint(total)
}

func roundtrip() string {
	total := 0
	cmd := exec.Command("cat")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(err)
	out, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	reader := bufio.NewReader(out)
	for i := 1; i <= number; i++ {
		_, err = fmt.Fprintf(in, "ping %d\n", i)
		must(err)
		line, err := reader.ReadString('\n')
		must(err)
		total += len(line) - 1
	}
	must(in.Close())
	must(cmd.Wait())
	return fmt.Sprint(total)
}

// pipeTo starts a command that writes to a pipe, and gives the pipe's other end; cmd's stdin is not needed any more.
func pipeTo(cmd *exec.Cmd) *os.File {
	r, w, err := os.Pipe()
	must(err)
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	must(cmd.Start())
	must(w.Close())
	if in, ok := cmd.Stdin.(*os.File); ok {
		must(in.Close())
	}
	return r
}

func pipeline() string {
	yes, head, wc := exec.Command("yes"), exec.Command("head", "-c", size), exec.Command("wc", "-c")
	head.Stdin = pipeTo(yes)
	wc.Stdin = pipeTo(head)
	out, err := wc.Output()
	must(err)
	must(wc.Stdin.(*os.File).Close())
	must(head.Wait())
	yes.Wait() // ended by SIGPIPE
	return strings.TrimSpace(string(out))
}

// Tasks

func sleepers() string {
	before := private()
	var group sync.WaitGroup
	group.Add(number)
	for i := 0; i < number; i++ {
		go func() {
			time.Sleep(nap)
			group.Done()
		}()
	}
	time.Sleep(nap / 2)
	eachCosts(private() - before)
	group.Wait()
	end()
	stopped = stopped.Add(-nap)
	return size
}

// On one processor: on two, each goroutine would have its own and switch to nothing.
func switches() string {
	runtime.GOMAXPROCS(1)
	var group sync.WaitGroup
	group.Add(2)
	begin()
	for _, n := range []int{number / 2, number - number/2} {
		go func(n int) {
			for i := 0; i < n; i++ {
				runtime.Gosched()
			}
			group.Done()
		}(n)
	}
	group.Wait()
	return size
}

func timers() string {
	call := func(ctx context.Context) error { return ctx.Err() }
	for i := 0; i < number; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), long)
		must(call(ctx))
		cancel()
	}
	return size
}

func timersBare() string {
	for i := 0; i < number; i++ {
		if !time.NewTimer(long).Stop() {
			must(errors.New("it has fired"))
		}
	}
	return size
}

var workloads = map[string]func() string{
	"spawn":         spawn,
	"spawn-heap":    spawnHeap,
	"churn":         churn,
	"storm":         storm,
	"run":           func() string { return capture("/bin/echo", "hello") },
	"capture":       func() string { return capture(limit, "produce", "65536") },
	"idle":          func() string { return idle(piped) },
	"idle-bare":     func() string { return idle(bare) },
	"sleepers":      sleepers,
	"switch":        switches,
	"timers":        timers,
	"timers-bare":   timersBare,
	"jobs":          jobs,
	"compile":       compile,
	"read":          read,
	"lines":         lines,
	"count":         count,
	"count-scanner": countScanner,
	"grep":          grep,
	"roundtrip":     roundtrip,
	"pipeline":      pipeline,
}

func main() {
	if len(os.Args) != 4 {
		must(errors.New("usage: main LIMIT WORKLOAD SIZE"))
	}
	var err error
	limit, size = os.Args[1], os.Args[3]
	number, err = strconv.Atoi(size)
	must(err)
	workload, found := workloads[os.Args[2]]
	if !found {
		os.Exit(77)
	}
	begin()
	check := workload()
	end()
	if memory == "" {
		memory = fmt.Sprint(kib("status", "VmHWM:"))
	}
	fmt.Printf("%.6f %.6f %s %s\n", stopped.Sub(started).Seconds(), cpuStop-cpuStart, memory, check)
}
