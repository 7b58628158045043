// A Go program that does nothing, for what it costs to start one.
package main

func main() {}
