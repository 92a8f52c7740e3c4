// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long one end waits for the other.
const patience = 2 * time.Second

// place is where one end of a flow runs.
type place struct {
	namespace string
	address   [4]byte
	cpu       int
}

// run runs f on a thread of its own in the place's namespace and on its CPU, ahead of whatever else the machine does. The
// thread is never given back: the runtime ends it with its goroutine, so no other code ever finds itself there.
func (p place) run(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := p.enter(); err != nil {
			done <- fmt.Errorf("enter %s: %w", p.namespace, err)
			return
		}
		done <- f()
	}()
	return done
}

func (p place) enter() error {
	fd, err := unix.Open(filepath.Join("/run/netns", p.namespace), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return err
	}
	var set unix.CPUSet
	set.Set(p.cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	return unix.Setpriority(unix.PRIO_PROCESS, 0, -20) // of this thread: in Linux they have one each
}

// cpuTime is the CPU time that the calling thread has taken. The receive work that follows from sending is in it: the kernel
// does that before it returns from the system call, on this thread's account.
func cpuTime() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), err
}

// allowedCPUs are the CPUs that this process may use.
func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("ask for CPUs: %w", err)
	}
	var cpus []int
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// listen opens a socket of the kind bound to the place and returns it and its port. A call that waits on it ends with EAGAIN
// after the time given.
func (p place) listen(kind int, wait time.Duration) (fd, port int, err error) {
	fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, 0, err
	}
	if err = limitWait(fd, wait); err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: p.address})
	}
	var bound unix.Sockaddr
	if err == nil {
		bound, err = unix.Getsockname(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	return fd, bound.(*unix.SockaddrInet4).Port, nil
}

// dial opens a socket of the kind connected to the port there.
func dial(kind int, there place, port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = limitWait(fd, patience); err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: there.address, Port: port})
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func limitWait(fd int, wait time.Duration) error {
	limit := unix.NsecToTimeval(wait.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return err
	}
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
}
