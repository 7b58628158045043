// Values from one goroutine to another through a channel, a second. Beside it: handover.lua, handover.py.
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

func main() {
	count := 1000000
	if len(os.Args) > 1 {
		count, _ = strconv.Atoi(os.Args[1])
	}
	for _, capacity := range []int{0, 100} {
		channel := make(chan int, capacity)
		start := time.Now()
		var group sync.WaitGroup
		group.Add(2)
		go func() {
			defer group.Done()
			for i := 1; i <= count; i++ {
				channel <- i
			}
			close(channel)
		}()
		go func() {
			defer group.Done()
			sum := 0
			for value := range channel {
				sum += value
			}
			if sum != count*(count+1)/2 {
				panic("a value is lost")
			}
		}()
		group.Wait()
		fmt.Printf("capacity %d: %.2f million/s\n", capacity, float64(count)/time.Since(start).Seconds()/1e6)
	}
}
