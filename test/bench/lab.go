// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// variant is one kind of lab.
type variant struct {
	name       string
	flags      []string // of `flyover lab run`
	insideOnly bool     // it has no way to the outside
}

// question asks a lab's server for one measurement.
type question struct {
	Protocol, To string
	Window       time.Duration
	Batch        int
}

// answer is the measurement; the first one that a server sends is about the lab and has a Note only.
type answer struct {
	Rate  float64 // packets received or round trips made per second
	Work  float64 // the same per second of CPU time that they took: what is left if others want the CPU
	Lost  float64 // share of the packets sent
	Path  string  // what proves the way that the packets took
	Note  string
	Error string
}

// server is the bench process in a lab.
type server struct {
	variant
	note  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *json.Decoder
}

// open opens a lab of its own for v, so that nothing of one variant, above all netfilter's hooks, is there for another.
func open(flyover string, v variant) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append([]string{"lab", "run"}, v.flags...)
	s := &server{variant: v, cmd: exec.Command(flyover, append(args, "--", self, serveCommand, v.name, flyover)...)}
	s.cmd.Stderr = os.Stderr
	// Go's runtime sends no signals to threads that are being measured.
	s.cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = json.NewDecoder(stdout)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	hello, err := s.receive()
	if err != nil {
		s.close()
		return nil, err
	}
	s.note = hello.Note
	return s, nil
}

func (s *server) ask(q question) (answer, error) {
	if err := json.NewEncoder(s.stdin).Encode(q); err != nil {
		return answer{}, fmt.Errorf("ask lab: %w", err)
	}
	return s.receive()
}

func (s *server) receive() (answer, error) {
	var a answer
	if err := s.out.Decode(&a); err != nil {
		return a, fmt.Errorf("hear from lab: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// close ends the server by the end of its input, and the lab with it. How it ended is of no interest any more.
func (s *server) close() {
	s.stdin.Close()
	_ = s.cmd.Wait()
}
