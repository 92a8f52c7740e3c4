// SPDX-License-Identifier: Apache-2.0

// Package topology holds the host objects that a network is built of: namespaces, links, addresses, routes, neighbours, FDB
// entries and sysctls. Each is a reconcile.Resource; each works in the network namespace of the calling thread.
package topology

import (
	"encoding/json"
	"fmt"

	"flyover/control/reconcile"
)

// Decode brings back a resource that the state file stored under kind.
func Decode(kind string, data []byte) (reconcile.Resource, error) {
	decode, ok := decoders[kind]
	if !ok {
		return nil, fmt.Errorf("decode resource: unknown kind %q", kind)
	}
	r, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return r, nil
}

// Kinds lists what Decode knows, unsorted.
func Kinds() []string {
	var kinds []string
	for kind := range decoders {
		kinds = append(kinds, kind)
	}
	return kinds
}

var decoders = map[string]func([]byte) (reconcile.Resource, error){
	Namespace{}.Kind(): decode[Namespace],
	Bridge{}.Kind():    decode[Bridge],
	Veth{}.Kind():      decode[Veth],
	Trunk{}.Kind():     decode[Trunk],
	Address{}.Kind():   decode[Address],
	Route{}.Kind():     decode[Route],
	Neighbour{}.Kind(): decode[Neighbour],
	FDB{}.Kind():       decode[FDB],
	Static6{}.Kind():   decode[Static6],
	Proxy6{}.Kind():    decode[Proxy6],
	(&Sysctl{}).Kind(): decode[*Sysctl],

	(&Forwarding6{}).Kind(): decode[*Forwarding6],
}

func decode[R reconcile.Resource](data []byte) (reconcile.Resource, error) {
	var r R
	err := json.Unmarshal(data, &r)
	return r, err
}
