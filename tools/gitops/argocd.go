package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"slices"
	"syscall"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

// What is here does as Argo CD does (Apache-2.0, argoproj/argo-cd at 37ee009: util/lua/lua.go and
// gitops-engine/pkg/health/health.go): the same interpreter, the same libraries open, the same reading of what a script
// returns. Its own package cannot be imported without all of Argo CD.

// luaLimit is Argo CD's, but of the time that this process computes: a busy machine must not fail a script.
const luaLimit = time.Second

var healthCodes = []string{"Unknown", "Progressing", "Suspended", "Healthy", "Degraded", "Missing"}

// resourceHealth is GetResourceHealth for a kind that has a script.
func resourceHealth(obj *unstructured.Unstructured, script string) (judged, error) {
	if obj.GetDeletionTimestamp() != nil {
		return judged{"Progressing", "Pending deletion"}, nil
	}
	returned, err := runLua(obj, script, nil)
	if err != nil {
		return judged{}, err
	}
	var health judged
	if err := json.Unmarshal(returned, &health); err != nil {
		return judged{}, err
	}
	if !slices.Contains(healthCodes, health.Status) {
		return judged{"Unknown", "Lua returned an invalid health status"}, nil
	}
	return health, nil
}

type action struct {
	Disabled    bool   `json:"disabled"`
	DisplayName string `json:"displayName,omitempty"`
	IconClass   string `json:"iconClass,omitempty"`
	Params      []struct {
		Name string `json:"name"`
	} `json:"params,omitempty"`
}

// discoverActions is ExecuteResourceActionDiscovery for one script.
func discoverActions(obj *unstructured.Unstructured, script string) (any, error) {
	returned, err := runLua(obj, script, nil)
	if err != nil {
		return nil, err
	}
	actions := map[string]action{}
	// An empty table in Lua is an empty array in JSON.
	if string(returned) != "[]" {
		if err := json.Unmarshal(returned, &actions); err != nil {
			return nil, err
		}
	}
	return map[string]any{"actions": actions}, nil
}

type impacted struct {
	Operation string         `json:"operation"`
	Resource  map[string]any `json:"resource"`
}

// runAction is ExecuteResourceAction: a script returns the object, or a list of objects with what to do with each.
func runAction(obj *unstructured.Unstructured, script string, params map[string]string) (any, error) {
	returned, err := runLua(obj, script, params)
	if err != nil {
		return nil, err
	}
	var resources []impacted
	if returned[0] == '[' {
		err = json.Unmarshal(returned, &resources)
	} else {
		resources = []impacted{{Operation: "patch"}}
		err = json.Unmarshal(returned, &resources[0].Resource)
	}
	if err != nil {
		return nil, err
	}
	for i, resource := range resources {
		switch resource.Operation {
		case "patch":
			resources[i].Resource = withEmptyObjects(resource.Resource, obj.Object)
		case "create":
		default:
			return nil, fmt.Errorf("unsupported operation: %s", resource.Operation)
		}
	}
	return map[string]any{"resources": resources}, nil
}

// runLua runs a script with the object in `obj` and returns the table that it returned, as JSON.
func runLua(obj *unstructured.Unstructured, script string, params map[string]string) ([]byte, error) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	// Argo CD also opens os.time and os.date; a judgement that asks for the time would not be one of the object.
	libraries := []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}}
	for _, library := range libraries {
		call := lua.P{Fn: l.NewFunction(library.open), NRet: 0, Protect: true}
		if err := l.CallByParam(call, lua.LString(library.name)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for began := computed(); ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			if computed()-began > luaLimit {
				cancel()
			}
		}
	}()
	l.SetContext(ctx)

	actionParams := l.NewTable()
	for name, value := range params {
		actionParams.RawSetString(name, lua.LString(value))
	}
	l.SetGlobal("actionParams", actionParams)
	l.SetGlobal("obj", luaValue(l, obj.Object))
	if err := l.DoString(script); err != nil {
		var failed *lua.ApiError
		if errors.As(err, &failed) {
			return nil, errors.New(failed.Object.String())
		}
		return nil, err
	}
	returned := l.Get(-1)
	if returned.Type() != lua.LTTable {
		return nil, fmt.Errorf("expect table output from Lua script, not %s", returned.Type())
	}
	return luajson.Encode(returned)
}

// computed is the time that this process has had a processor for.
func computed() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// luaValue is decodeValue: that of gopher-json knows no int64.
func luaValue(l *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case float64:
		return lua.LNumber(value)
	case int64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		list := l.CreateTable(len(value), 0)
		for _, item := range value {
			list.Append(luaValue(l, item))
		}
		return list
	case map[string]any:
		table := l.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, luaValue(l, item))
		}
		return table
	}
	return lua.LNil
}

// withEmptyObjects is cleanReturnedObj: an object that was empty comes back from Lua as an empty list.
func withEmptyObjects(returned, before map[string]any) map[string]any {
	for key, now := range returned {
		if was, ok := before[key]; ok {
			returned[key] = withEmptyObject(now, was)
		}
	}
	return returned
}

func withEmptyObject(now, was any) any {
	switch now := now.(type) {
	case map[string]any:
		if was, ok := was.(map[string]any); ok {
			return withEmptyObjects(now, was)
		}
	case []any:
		if _, ok := was.(map[string]any); ok && len(now) == 0 {
			return map[string]any{}
		}
		if was, ok := was.([]any); ok {
			for i := range min(len(now), len(was)) {
				// Argo CD looks into lists of lists and of objects, but takes an empty list in a list for what it is.
				if item, ok := now[i].([]any); ok && len(item) == 0 {
					continue
				}
				now[i] = withEmptyObject(now[i], was[i])
			}
		}
	}
	return now
}
