package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

func readAll(body io.ReadCloser, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	return string(content), err
}

func fsList(w *world) error {
	alloc, err := w.alloc(w.Files.Alloc)
	if err != nil {
		return err
	}
	files, _, err := w.client.AllocFS().List(alloc, w.Files.Directory, nil)
	if err != nil {
		return err
	}
	w.see(files)
	there := map[string]bool{}
	for _, file := range files {
		there[w.Files.Directory+"/"+file.Name] = true
	}
	for path := range w.Files.Contents {
		if !there[path] {
			return fmt.Errorf("%s is not among %d files", path, len(files))
		}
	}
	return nil
}

func fsStat(w *world) error {
	alloc, err := w.alloc(w.Files.Alloc)
	if err != nil {
		return err
	}
	file, _, err := w.client.AllocFS().Stat(alloc, w.Files.Path, nil)
	if err != nil {
		return err
	}
	w.see(file)
	return want("its size, and that it is text", file.Size == int64(len(w.Files.Contents[w.Files.Path])) && strings.HasPrefix(file.ContentType, "text/plain"), file)
}

func fsCat(w *world) error {
	alloc, err := w.alloc(w.Files.Alloc)
	if err != nil {
		return err
	}
	paths := []string{}
	for path := range w.Files.Contents {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	for _, path := range paths {
		seen, err := readAll(w.client.AllocFS().Cat(alloc, path, nil))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		w.see(path, seen)
		if seen != w.Files.Contents[path] {
			return fmt.Errorf("%s: saw %q", path, seen)
		}
	}
	return nil
}

func fsReadAt(w *world) error {
	alloc, err := w.alloc(w.Files.Alloc)
	if err != nil {
		return err
	}
	seen, err := readAll(w.client.AllocFS().ReadAt(alloc, w.Files.Path, 6, 4, nil))
	if err != nil {
		return err
	}
	w.see(seen)
	return want("four bytes from the sixth", seen == "from", seen)
}

func fsLarge(w *world) error {
	alloc, err := w.alloc(w.Files.Alloc)
	if err != nil {
		return err
	}
	body, err := w.client.AllocFS().Cat(alloc, w.Files.Large, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, body)
	if err != nil {
		return err
	}
	w.see(size)
	return want("64 MiB", size == 64<<20, size)
}

func fsStream(w *world) error {
	alloc, err := w.alloc(w.Files.Alloc)
	if err != nil {
		return err
	}
	cancel := make(chan struct{})
	defer close(cancel)
	frames, failed := w.client.AllocFS().Stream(alloc, w.Files.Path, "start", 0, cancel, nil)
	select {
	case frame := <-frames:
		w.see(frame)
		return want("the file's content and name", string(frame.Data) == w.Files.Contents[w.Files.Path] && frame.File == w.Files.Path, frame)
	case err := <-failed:
		return err
	case <-time.After(patience):
		return errors.New("no frame came")
	}
}

// Nomad's own agent answers a refused Cat with 200 and the refusal as the file's content.
func fsMissing(w *world) error {
	alloc, err := w.alloc(w.Files.Alloc)
	if err != nil {
		return err
	}
	_, _, stat := w.client.AllocFS().Stat(alloc, w.Files.Directory+"/nope", nil)
	_, _, list := w.client.AllocFS().List(alloc, w.Files.Directory+"/nope", nil)
	text, cat := readAll(w.client.AllocFS().Cat(alloc, w.Files.Directory+"/nope", nil))
	w.see(stat, list)
	if cat != nil {
		text = cat.Error()
	}
	return want("Nomad's words", stat != nil && list != nil && strings.Contains(text, "no such file or directory"), text)
}

func collectLogs(w *world, id, task, kind string, follow bool, until func(string) bool) (string, error) {
	alloc, err := w.alloc(id)
	if err != nil {
		return "", err
	}
	cancel := make(chan struct{})
	defer close(cancel)
	frames, failed := w.client.AllocFS().Logs(alloc, follow, task, kind, "start", 0, cancel, nil)
	var text strings.Builder
	timeout := time.After(patience)
	for {
		select {
		case frame, open := <-frames:
			if !open {
				return text.String(), nil
			}
			text.Write(frame.Data)
			if until(text.String()) {
				return text.String(), nil
			}
		case err := <-failed:
			return text.String(), err
		case <-timeout:
			return text.String(), errors.New("the logs did not end in time")
		}
	}
}

func never(string) bool { return false }

func logs(w *world) error {
	stdout, err := collectLogs(w, w.Done.Alloc, w.Done.Task, "stdout", false, never)
	if err != nil {
		return err
	}
	stderr, err := collectLogs(w, w.Done.Alloc, w.Done.Task, "stderr", false, never)
	if err != nil {
		return err
	}
	_, missing := collectLogs(w, w.Done.Alloc, "nope", "stdout", false, never)
	_, neither := collectLogs(w, w.Done.Alloc, w.Done.Task, "neither", false, never)
	w.see(stdout, stderr, missing, neither)
	if err := want("refusals", missing != nil && neither != nil, []any{missing, neither}); err != nil {
		return err
	}
	return want("both streams", stdout == w.Done.Stdout && stderr == w.Done.Stderr, stdout+stderr)
}

func logsFollow(w *world) error {
	text, err := collectLogs(w, w.Talker.Alloc, w.Talker.Task, "stdout", true, func(text string) bool {
		return strings.Contains(text, "line 1\n") && strings.Contains(text, "line 3\n")
	})
	before, _, _ := strings.Cut(text, "line 3\n")
	w.see(before)
	return err
}

func monitor(w *world) error {
	for _, params := range []map[string]string{{"log_level": "trace"}, {"log_level": "trace", "node_id": w.Node}} {
		stop := make(chan struct{})
		frames, failed := w.client.Agent().Monitor(stop, &api.QueryOptions{Params: params})
		// An agent logs what it is asked: so that there is something to tell.
		stir := time.NewTicker(100 * time.Millisecond)
		timeout := time.After(patience)
		var fault error
		for told := false; !told && fault == nil; {
			select {
			case frame := <-frames:
				told = frame != nil && strings.Contains(string(frame.Data), "[")
			case fault = <-failed:
			case <-timeout:
				fault = errors.New("the agent says nothing")
			case <-stir.C:
				_, _, _ = w.client.AllocFS().List(&api.Allocation{ID: w.Files.Alloc, NodeID: w.Node}, "/", nil)
				_, _ = w.client.Agent().Self()
			}
		}
		stir.Stop()
		close(stop)
		w.see(fault == nil)
		if fault != nil {
			return fmt.Errorf("%v: %w", params, fault)
		}
	}
	return nil
}
