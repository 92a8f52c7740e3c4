// SPDX-License-Identifier: Apache-2.0

// Package model is the translation in plain Go: what becomes of one packet after the other, and which sessions, mappings and
// ports there are then. It is a second opinion for the tests of the eBPF programs, written from docs/ and the RFCs with maps and
// ifs, for a reader: it knows neither CPUs nor races nor speed.
//
// A Model is of one address family; what the two have in common is shared between theirs (Model.Share).
//
// Where the programs are free to choose, as among the ports of a range, the model is told what they chose (Oracle), and says
// whether they were free to (Model.Faults).
//
// Reading order: model.go, frame.go, ip6.go, nd.go, tables.go, tcp.go; then outwards.go, stranger.go, inwards.go, slow.go, icmp.go, fragment.go, one for each
// way that a packet may take; session.go, port.go and collect.go for how sessions are made and end.
package model
