package handlers

import (
	"bytes"
	"html/template"
	"regexp"
	"sync"
)

// fragmentCache caches a rendered fragment that lists repeat many times: executing its template for each row would take most of the time of
// a page. The key is everything that the fragment shows, so a cached one is never out of date.
type fragmentCache[T any, K comparable] struct {
	key      func(T) (key K, cacheable bool)
	uncached *template.Template
	mu       sync.RWMutex
	kept     map[K]template.HTML
}

// maxFragments is how many fragments a cache holds. 2,000 rows take 5 MB, or 10 MB if each has ten apps. A full cache is emptied.
const maxFragments = 2000

// serve replaces the fragment with call, a template that calls render. Templates that include the fragment and handlers that render it
// then get it from the cache, and only render executes the original.
func (f *fragmentCache[T, K]) serve(templates *template.Template, fragment, call string) (err error) {
	f.uncached, err = templates.AddParseTree(fragment+".uncached", templates.Lookup(fragment).Tree)
	if err == nil {
		_, err = templates.New(fragment).Parse(call)
	}
	return err
}

// indentation is removed from fragments, because it would be a fifth of the response.
var indentation = regexp.MustCompile(`\n\s+`)

func (f *fragmentCache[T, K]) render(data T) (template.HTML, error) {
	key, cacheable := f.key(data)
	f.mu.RLock()
	kept, known := f.kept[key]
	f.mu.RUnlock()
	if known {
		return kept, nil
	}
	var out bytes.Buffer
	if err := f.uncached.Execute(&out, data); err != nil {
		return "", err
	}
	kept = template.HTML(indentation.ReplaceAll(out.Bytes(), []byte("\n")))
	if !cacheable {
		return kept, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.kept) >= maxFragments || f.kept == nil {
		f.kept = map[K]template.HTML{}
	}
	f.kept[key] = kept
	return kept, nil
}
