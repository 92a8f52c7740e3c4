// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"flyover/bpf"
)

// seenOffset is where life.seen is in the entries of all maps that have it.
const seenOffset = unsafe.Offsetof(bpf.DatapathSessionEntry{}.Life) + unsafe.Offsetof(bpf.DatapathSessionEntry{}.Life.Seen)

// age makes everything that has timers look as if its last packet was d longer ago: the true timers are tested without waiting.
func (h *host) age(d time.Duration) {
	h.t.Helper()
	if h.ebpf {
		h.ageMaps(uint32(d / time.Second))
		return
	}
	h.ageConntrack(uint32(d / time.Second))
}

func (h *host) ageMaps(seconds uint32) {
	h.t.Helper()
	for _, name := range []string{"fo_sessions[46]", "fo_replies[46]", "fo_ports[46]", "fo_datagrams[46]"} {
		files, err := filepath.Glob("/sys/fs/bpf/flyover/v*/maps/" + name)
		if err != nil || len(files) == 0 {
			h.t.Fatalf("no map %s, error %v", name, err)
		}
		for _, file := range files {
			if err := ageMap(file, seconds); err != nil {
				h.t.Fatalf("age %s: %v", file, err)
			}
		}
	}
	exhausted, err := filepath.Glob("/sys/fs/bpf/flyover/v*/maps/fo_exhausted")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, file := range exhausted {
		if err := ageExhausted(file); err != nil {
			h.t.Fatalf("forget exhausted ports: %v", err)
		}
	}
}

// ageExhausted lets searches for ports that were in vain be tried again: they are remembered for a second.
func ageExhausted(file string) error {
	m, err := ebpf.LoadPinnedMap(file, nil)
	if err != nil {
		return err
	}
	defer m.Close()
	for i := range m.MaxEntries() {
		if err := m.Put(i, bpf.DatapathExhaustedEntry{}); err != nil {
			return err
		}
	}
	return nil
}

// ageMap rewrites one map. Nothing may send meanwhile: an entry is written back as it was read.
func ageMap(file string, seconds uint32) error {
	m, err := ebpf.LoadPinnedMap(file, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	var key, value []byte
	entries := map[string][]byte{}
	for i := m.Iterate(); i.Next(&key, &value); {
		entries[string(key)] = append([]byte(nil), value...)
	}
	for key, value := range entries {
		seen := binary.NativeEndian.Uint32(value[seenOffset:])
		binary.NativeEndian.PutUint32(value[seenOffset:], seen-seconds)
		if err := m.Update([]byte(key), value, ebpf.UpdateExist); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}

// ageConntrack shortens what entries have left; those with nothing left go.
func (h *host) ageConntrack(seconds uint32) {
	h.t.Helper()
	entries, err := conntrack(unix.AF_UNSPEC, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	if err != nil {
		h.t.Fatalf("list conntrack entries: %v", err)
	}
	for _, entry := range entries {
		tuple, left, err := conntrackEntry(entry)
		if err != nil {
			h.t.Fatalf("read conntrack entry: %v", err)
		}
		if left > seconds {
			timeout := nl.NewRtAttr(nl.CTA_TIMEOUT, nl.BEUint32Attr(left-seconds))
			_, err = conntrack(entry[0], nl.IPCTNL_MSG_CT_NEW, unix.NLM_F_ACK|unix.NLM_F_REPLACE, tuple, timeout)
		} else {
			_, err = conntrack(entry[0], nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, tuple)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) { // else it has ended by itself
			h.t.Fatalf("age conntrack entry: %v", err)
		}
	}
}

// conntrack sends a message to ctnetlink, about a family, which is the first octet of what it answers.
func conntrack(family uint8, message, flags int, attributes ...*nl.RtAttr) ([][]byte, error) {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|message, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	for _, a := range attributes {
		req.AddData(a)
	}
	return req.Execute(unix.NETLINK_NETFILTER, 0)
}

// conntrackEntry is the original tuple of an entry, as an attribute to name it by, and the seconds that it has left.
func conntrackEntry(message []byte) (tuple *nl.RtAttr, left uint32, err error) {
	attributes, err := nl.ParseRouteAttr(message[nl.SizeofNfgenmsg:])
	for _, a := range attributes {
		switch a.Attr.Type &^ unix.NLA_F_NESTED {
		case nl.CTA_TUPLE_ORIG:
			tuple = nl.NewRtAttr(nl.CTA_TUPLE_ORIG|unix.NLA_F_NESTED, a.Value)
		case nl.CTA_TIMEOUT:
			left = binary.BigEndian.Uint32(a.Value)
		}
	}
	if err == nil && tuple == nil {
		err = errors.New("no tuple")
	}
	return tuple, left, err
}
