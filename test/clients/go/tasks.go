package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

func exec(w *world, task string, tty bool, stdin io.Reader, command ...string) (int, string, string, error) {
	alloc, err := w.alloc(w.Talker.Alloc)
	if err != nil {
		return 0, "", "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	size := make(chan api.TerminalSize, 1)
	if tty {
		size <- api.TerminalSize{Height: 33, Width: 111}
	}
	code, err := w.client.Allocations().Exec(ctx, alloc, task, tty, command, stdin, &stdout, &stderr, size, nil)
	return code, stdout.String(), stderr.String(), err
}

func execPlain(w *world) error {
	code, stdout, stderr, err := exec(w, w.Talker.Task, false, strings.NewReader("through the gate\n"), "/bin/sh", "-c", "cat; echo aside >&2; exit 5")
	if err != nil {
		return err
	}
	w.see(code, stdout, stderr)
	return want("all of it and the exit code", code == 5 && stdout == "through the gate\n" && stderr == "aside\n", []any{code, stdout, stderr})
}

func execTerminal(w *world) error {
	stdin, hold := io.Pipe()
	defer hold.Close()
	code, stdout, _, err := exec(w, w.Talker.Task, true, stdin, "/bin/sh", "-c", "sleep 0.5; stty size; tty >/dev/null && echo a terminal; exit 3")
	if err != nil {
		return err
	}
	w.see(code, stdout)
	return want("a terminal of that size, and the exit code", code == 3 && strings.Contains(stdout, "33 111") && strings.Contains(stdout, "a terminal"), []any{code, stdout})
}

func execMissing(w *world) error {
	_, _, _, err := exec(w, "nope", false, strings.NewReader(""), "/bin/true")
	w.see(err != nil)
	return want("a refusal", err != nil && strings.Contains(strings.ToLower(err.Error()), "task"), err)
}

func allocStats(w *world) error {
	alloc, err := w.alloc(w.Talker.Alloc)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		stats, err := w.client.Allocations().Stats(alloc, nil)
		if err != nil {
			return err
		}
		// The first sample is taken a moment after the task's start.
		if task := stats.Tasks[w.Talker.Task]; task != nil && task.ResourceUsage.MemoryStats.RSS > 0 {
			w.see(len(stats.Tasks), task.ResourceUsage.MemoryStats.Measured, task.ResourceUsage.CpuStats.Measured)
			return nil
		}
	}
	return errors.New("the task has no memory")
}

func signal(w *world) error {
	alloc, err := w.alloc(w.Talker.Alloc)
	if err != nil {
		return err
	}
	if err := w.client.Allocations().Signal(alloc, nil, w.Talker.Task, "SIGUSR1"); err != nil {
		return err
	}
	_, err = collectLogs(w, w.Talker.Alloc, w.Talker.Task, "stdout", true, func(text string) bool {
		return strings.Contains(text, "got") && strings.Contains(text, "USR1\n")
	})
	if err != nil {
		return err
	}
	none := w.client.Allocations().Signal(alloc, nil, "nope", "SIGUSR1")
	w.see(none)
	return want("a task that is not there is refused", none != nil, none)
}

func restart(w *world) error {
	alloc, err := w.alloc(w.Talker.Alloc)
	if err != nil {
		return err
	}
	if err := w.client.Allocations().Restart(alloc, w.Talker.Task, nil); err != nil {
		return err
	}
	_, err = collectLogs(w, w.Talker.Alloc, w.Talker.Task, "stdout", true, func(text string) bool {
		_, after, found := strings.Cut(text, "goodbye\n")
		return found && strings.Contains(after, "line 1\n")
	})
	if err != nil {
		return err
	}
	none := w.client.Allocations().Restart(alloc, "nope", nil)
	w.see(none)
	return want("a task that is not there is refused", none != nil, none)
}

func stop(w *world) error {
	alloc, err := w.alloc(w.Ends.Alloc)
	if err != nil {
		return err
	}
	answer, err := w.client.Allocations().Stop(alloc, nil)
	if err != nil {
		return err
	}
	if err := evaluated(w, answer.EvalID, w.Ends.Namespace); err != nil {
		return err
	}
	var index uint64
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		alloc, meta, err := w.client.Allocations().Info(w.Ends.Alloc, &api.QueryOptions{WaitIndex: index, WaitTime: time.Second})
		if err != nil {
			return err
		}
		if alloc.ClientStatus == "complete" {
			w.see(alloc.ClientStatus, alloc.DesiredStatus, alloc.DesiredDescription)
			return want("stopped on purpose", alloc.DesiredStatus == "stop", alloc.DesiredStatus)
		}
		index = meta.LastIndex
	}
	return errors.New("it did not end")
}

// evaluated waits until an evaluation is complete.
func evaluated(w *world, id, namespace string) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		evaluation, _, err := w.client.Evaluations().Info(id, nil)
		if err != nil {
			return err
		}
		if evaluation.Status == "complete" {
			w.see(evaluation)
			return want("its namespace", evaluation.Namespace == namespace, evaluation)
		}
	}
	return errors.New("the evaluation does not complete")
}

// Allocations().GC wants a document where Nomad sends none, so it fails against every Nomad.
func collect(w *world) error {
	if err := unlessEmpty(w.client.Nodes().GcAlloc(w.Done.Alloc, nil)); err != nil {
		return err
	}
	_, _, err := w.client.AllocFS().List(&api.Allocation{ID: w.Done.Alloc, NodeID: w.Node}, "/", nil)
	if err := want("its files are gone", err != nil, err); err != nil {
		return err
	}
	return unlessEmpty(w.client.Nodes().GC(w.Node, nil))
}

// unlessEmpty: Nomad's empty answer is an empty gzip stream, in which the SDK looks for a document.
func unlessEmpty(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
