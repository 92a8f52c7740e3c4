// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// visit is a look at one namespace.
type visit struct {
	namespace int // file descriptor
	seen      *space
	err       error
}

// visitAll looks at the named namespaces. A visitor is a thread that goes from one to the next: entering takes microseconds, and a
// thread for each would take ten times as many.
func visitAll(names []string) map[string]*visit {
	visits := make(map[string]*visit, len(names))
	queue := make(chan *visit, 64)
	var visitors sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(names)) {
		visitors.Go(func() { visitEach(queue) })
	}
	for _, name := range names {
		// Names are files of the calling thread's mount namespace, which need not be the visitors'.
		fd, err := openNamespace(name)
		visits[name] = &visit{namespace: fd, err: err}
		if err == nil {
			queue <- visits[name]
		}
	}
	close(queue)
	visitors.Wait()
	return visits
}

// visitEach never unlocks its thread, so that the thread ends with it. It goes home nevertheless: the process's first thread is parked
// instead of ended, and /proc/self shows that thread.
func visitEach(queue <-chan *visit) {
	runtime.LockOSThread()
	const self = "/proc/thread-self/ns/net"
	home, homeless := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	buffer := make([]byte, dumpBuffer)
	for v := range queue {
		if v.err = homeless; homeless != nil {
			v.err = &os.PathError{Op: "open", Path: self, Err: homeless}
		} else if v.err = unix.Setns(v.namespace, unix.CLONE_NEWNET); v.err != nil {
			v.err = fmt.Errorf("enter: %w", v.err)
		} else {
			v.seen, v.err = lookHere(buffer)
		}
		unix.Close(v.namespace)
	}
	if homeless == nil {
		_ = unix.Setns(home, unix.CLONE_NEWNET)
		unix.Close(home)
	}
}

// lookHere looks at the namespace of the calling thread.
func lookHere(buffer []byte) (*space, error) {
	r, err := openReader(buffer)
	if err != nil {
		return nil, err
	}
	defer r.close()
	seen, err := r.space()
	if err != nil {
		return nil, err
	}
	seen.routes, err = r.routes()
	return seen, err
}
