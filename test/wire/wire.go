// SPDX-License-Identifier: Apache-2.0

// Package wire looks at the packets of interfaces in network namespaces, and sends packets there as they are. It knows nothing of
// the testing package: its errors say what went wrong, and tests decide what that means.
package wire

import (
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// In calls f with the thread in a named network namespace, "" being the caller's: what f opens stays there, and works from
// anywhere.
func In[T any](namespace string, f func() (T, error)) (made T, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked, so that the thread ends with the goroutine.
		runtime.LockOSThread()
		if err = enter(namespace); err == nil {
			made, err = f()
		}
	}()
	<-done
	if err != nil {
		err = fmt.Errorf("in namespace %q: %w", namespace, err)
	}
	return made, err
}

func enter(namespace string) error {
	if namespace == "" {
		return nil
	}
	handle, err := netns.GetFromName(namespace)
	if err != nil {
		return err
	}
	defer handle.Close()
	return netns.Set(handle)
}

// Socket opens an AF_PACKET socket at a device, of an Ethernet protocol in host order, or 0 for sending only.
func Socket(namespace, device string, protocol uint16) (int, error) {
	return In(namespace, func() (int, error) {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return -1, err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: i.Index}); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("bind to %s: %w", device, err)
		}
		return fd, nil
	})
}

// Inject sends one frame as it is.
func Inject(namespace, device string, frame []byte) error {
	fd, err := Socket(namespace, device, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, frame)
	return err
}
