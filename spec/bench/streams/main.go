// The workloads in Go: main LIMIT WORKLOAD SIZE. Prints what limit.c prints.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var limit, size string

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func producer(mode string) (*exec.Cmd, io.Reader) {
	cmd := exec.Command(limit, mode, size)
	out, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	return cmd, out
}

func scanner(out io.Reader) *bufio.Scanner {
	scan := bufio.NewScanner(out)
	scan.Buffer(make([]byte, 65536), 1<<20)
	return scan
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

var newline = []byte("\n")

var workloads = map[string]func() string{
	"read": func() string {
		total := 0
		cmd, out := producer("produce")
		eachBlock(out, func(block []byte) { total += len(block) })
		must(cmd.Wait())
		return fmt.Sprint(total)
	},
	"lines": func() string {
		count, total := 0, 0
		cmd, out := producer("produce-lines")
		for scan := scanner(out); scan.Scan(); {
			line := scan.Text()
			kept = line
			count++
			total += len(line)
		}
		must(cmd.Wait())
		return fmt.Sprintf("%d:%d", count, total)
	},
	"count": func() string {
		count := 0
		cmd, out := producer("produce-lines")
		eachBlock(out, func(block []byte) { count += bytes.Count(block, newline) })
		must(cmd.Wait())
		return fmt.Sprint(count)
	},
	"count-scanner": func() string {
		count := 0
		cmd, out := producer("produce-lines")
		for scan := scanner(out); scan.Scan(); {
			count++
		}
		must(cmd.Wait())
		return fmt.Sprint(count)
	},
	"grep": func() string {
		count, total, needle := 0, 0, []byte("needle")
		cmd, out := producer("produce-lines")
		for scan := scanner(out); scan.Scan(); {
			if bytes.Contains(scan.Bytes(), needle) {
				count++
				total += len(scan.Text())
			}
		}
		must(cmd.Wait())
		return fmt.Sprintf("%d:%d", count, total)
	},
	"roundtrip": func() string {
		rounds, err := strconv.Atoi(size)
		must(err)
		total := 0
		cmd := exec.Command("cat")
		in, err := cmd.StdinPipe()
		must(err)
		out, err := cmd.StdoutPipe()
		must(err)
		must(cmd.Start())
		reader := bufio.NewReader(out)
		for i := 1; i <= rounds; i++ {
			_, err = fmt.Fprintf(in, "ping %d\n", i)
			must(err)
			line, err := reader.ReadString('\n')
			must(err)
			total += len(line) - 1
		}
		must(in.Close())
		must(cmd.Wait())
		return fmt.Sprint(total)
	},
}

var kept string // so that a line's string is made

func peakMemory() string {
	status, err := os.ReadFile("/proc/self/status")
	must(err)
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			return strings.Fields(line)[1]
		}
	}
	return "0"
}

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

func main() {
	limit, size = os.Args[1], os.Args[3]
	start := time.Now()
	check := workloads[os.Args[2]]()
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	fmt.Printf("%.6f %.6f %s %s\n", time.Since(start).Seconds(), seconds(usage.Utime)+seconds(usage.Stime),
		peakMemory(), check)
}
