// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// conntrack fills connection tracking, which the kernel's own masquerading needs, and says what an entry takes.
func conntrack(o options) error {
	if err := up(o, 131072, "    datapath: kernel\n"); err != nil {
		return err
	}
	s, err := newSender(endpoints[0].namespace, endpoints[0].address)
	if err != nil {
		return err
	}
	defer s.close()
	w, err := newWitness(o.tracked)
	if err != nil {
		return err
	}
	defer w.close()
	// All memory but that of the entries is there, the witness's and the neighbours'.
	if err := track(s, 1); err != nil {
		return err
	}
	time.Sleep(time.Second)
	before, err := readTracked()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := track(s, o.tracked); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := readTracked()
	if err != nil {
		return err
	}
	say("entries", "%d in %.2f s: %.0f/s", after.entries, took.Seconds(), float64(o.tracked)/took.Seconds())
	if err := w.report(o.tracked); err != nil {
		return err
	}
	after.report(before)
	return nil
}

// track sends a datagram for each of n entries.
func track(s *sender, n int) error {
	const remotes = 16
	for i := range n {
		port := independent.bases[0] + i/remotes
		if err := s.send(flow{
			remote: uint32(firstRemote + i%remotes), insidePort: uint16(port), remotePort: 53, identity: uint64(port),
		}); err != nil {
			return err
		}
	}
	return s.flush()
}

// tracked is what the kernel says of connection tracking. Its hash table and its memory are the whole machine's; nf_conntrack_max
// cannot be set for a namespace.
type tracked struct {
	entries, buckets int
	objects, size    int64 // of the slab cache
	slab             int64 // all of /proc/meminfo's Slab, with the extensions of the entries
}

func readTracked() (t tracked, err error) {
	if t.entries, err = readNumber("/proc/sys/net/netfilter/nf_conntrack_count"); err != nil {
		return t, err
	}
	if t.buckets, err = readNumber("/proc/sys/net/netfilter/nf_conntrack_buckets"); err != nil {
		return t, err
	}
	m, err := readMemory()
	if err != nil {
		return t, err
	}
	t.slab = m["Slab"]
	text, err := os.ReadFile("/proc/slabinfo")
	for line := range strings.Lines(string(text)) {
		var active int64
		if _, err := fmt.Sscanf(line, "nf_conntrack %d %d %d", &active, &t.objects, &t.size); err == nil {
			return t, nil
		}
	}
	if err == nil {
		err = unix.ENOENT
	}
	return t, fmt.Errorf("read nf_conntrack in /proc/slabinfo: %w", err)
}

func readNumber(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func (t tracked) report(before tracked) {
	entries := float64(t.entries - before.entries)
	object := float64((t.objects-before.objects)*t.size) / entries
	slab := float64(t.slab-before.slab) / entries
	say("slab cache nf_conntrack", "%.1f bytes/entry: objects of %d", object, t.size)
	say("all slabs, with the extension of each entry", "%.1f bytes/entry", slab)
	say("the hash table, there all the time", "%d buckets of 8 bytes, as many as nf_conntrack_max: 8 bytes/entry when full", t.buckets)
}
