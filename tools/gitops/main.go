// Command gitops judges objects of Kubernetes as GitOps tools do: Argo CD by scripts in Lua, Flux and Helm by kstatus.
//
// It answers each question, one JSON object a line on its standard input, with one line:
//
//	{"ask": "health", "lua": "…", "object": {…}}      {"status": "Healthy", "message": "…"}
//	{"ask": "actions", "lua": "…", "object": {…}}     {"actions": {"move": {"displayName": "…", "disabled": false}}}
//	{"ask": "act", "lua": "…", "params": {"node": "…"}, "object": {…}}
//	                                                  {"resources": [{"operation": "patch", "resource": {…}}]}
//	{"ask": "kstatus", "object": {…}}                 {"status": "Current", "message": "…"}
//
// What goes wrong with one question is its answer: {"error": "…"}.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type question struct {
	Ask    string            `json:"ask"`
	Lua    string            `json:"lua"`
	Params map[string]string `json:"params"`
	// Integers must stay integers for kstatus, which encoding/json alone would make floats of.
	Object unstructured.Unstructured `json:"object"`
}

func main() {
	log.SetFlags(0)
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 1 {
			if err := out.Encode(answer(line)); err != nil {
				log.Fatal(err)
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}

func answer(line []byte) any {
	var asked question
	err := json.Unmarshal(line, &asked)
	if err != nil {
		return map[string]string{"error": fmt.Sprintf("Cannot read the question: %v", err)}
	}
	said, err := asked.answer()
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	return said
}

func (q question) answer() (any, error) {
	switch q.Ask {
	case "health":
		return resourceHealth(&q.Object, q.Lua)
	case "actions":
		return discoverActions(&q.Object, q.Lua)
	case "act":
		return runAction(&q.Object, q.Lua, q.Params)
	case "kstatus":
		result, err := status.Compute(&q.Object)
		if err != nil {
			return nil, err
		}
		return judged{Status: string(result.Status), Message: result.Message}, nil
	}
	return nil, fmt.Errorf("Cannot answer %q: ask for health, actions, act or kstatus", q.Ask)
}

type judged struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}
