// The story with go-elasticsearch's API of requests and answers: one line of JSON, what an application sees.
// The typed client on top of it would take three times as long to compile. See ../../README.md.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/url"
	"os"
	"strings"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v9/esapi"
)

const (
	wine    = `{"query":{"match":{"title":"wine"}},"size":12}`
	inOrder = `{"query":{"match":{"title":"wine"}},"sort":["n"],"size":3}`
	wrong   = `{"query":{"none":{}}}`
)

type found struct {
	Status int
	Hits   struct {
		Hits []struct {
			Id string `json:"_id"`
		}
	}
}

type searched struct {
	found
	Scroll    string `json:"_scroll_id"`
	Responses []found
}

type failed struct {
	Error struct{ Type string }
}

// must ends the program where the story does not go on.
func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// read takes an answer's JSON, and nothing behind it, as the client's own examples do.
func read[T any](response *esapi.Response, err error) T {
	var content T
	if err == nil {
		defer response.Body.Close()
		err = json.NewDecoder(response.Body).Decode(&content)
	}
	return must(content, err)
}

func statusOf(response *esapi.Response, err error) int {
	must(response, err).Body.Close()
	return response.StatusCode
}

func errorOf(response *esapi.Response, err error) []any {
	told := read[failed](response, err)
	return []any{fmt.Sprint(response.IsError()), response.StatusCode, told.Error.Type}
}

func (found found) ids() []string {
	ids := []string{}
	for _, hit := range found.Hits.Hits {
		ids = append(ids, hit.Id)
	}
	return ids
}

func main() {
	index := os.Getenv("STORY_INDEX")
	address := must(url.Parse(os.Getenv("STORY_URL")))
	client := esapi.New(must(elastictransport.New(elastictransport.Config{
		URLs: []*url.URL{address}, CompressRequestBody: true,
	})))
	search := func(body string, more ...func(*esapi.SearchRequest)) (*esapi.Response, error) {
		return client.Search(append(more, client.Search.WithBody(strings.NewReader(body)))...)
	}
	inIndex := client.Search.WithIndex(index)
	told := map[string]any{}

	told["info"] = statusOf(client.Info()) // this node has no main page
	told["ping"] = statusOf(client.Ping())
	settings := strings.NewReader(`{"settings":{"number_of_replicas":0}}`)
	told["create"] = statusOf(client.Indices.Create(index, client.Indices.Create.WithBody(settings)))
	lines := ""
	for n := range 12 {
		title := "wine" + strings.Repeat(" and water", n)
		lines += fmt.Sprintf("{\"index\":{\"_id\":\"%d\"}}\n{\"title\":%q,\"n\":%d}\n", n, title, n)
	}
	bulk := read[struct{ Items []any }](client.Bulk(strings.NewReader(lines), client.Bulk.WithIndex(index)))
	told["bulk"] = len(bulk.Items)
	statusOf(client.Indices.Refresh(client.Indices.Refresh.WithIndex(index)))
	document := read[struct {
		Source struct{ Title string } `json:"_source"`
	}](client.Get(index, "1"))
	told["get"] = document.Source.Title
	told["exists"] = []int{statusOf(client.Exists(index, "1")), statusOf(client.Exists(index, "none"))}
	told["count"] = read[struct{ Count int }](client.Count(client.Count.WithIndex(index))).Count
	told["search"] = read[searched](search(wine, inIndex)).ids()
	optedOut := client.Search.WithHeader(map[string]string{"X-Rerank": "off"})
	told["opted_out"] = read[searched](search(wine, inIndex, optedOut)).ids()
	searches := "{}\n" + inOrder + "\n{\"index\":\"" + index + "-none\"}\n" + wine + "\n"
	several := client.Msearch.WithIndex(index)
	responses := read[searched](client.Msearch(strings.NewReader(searches), several)).Responses
	told["msearch"] = []any{responses[0].ids(), responses[1].Status}
	scrolled := []string{}
	page := read[searched](search(inOrder, inIndex, client.Search.WithScroll(60e9)))
	for len(page.Hits.Hits) > 0 {
		scrolled = append(scrolled, page.ids()...)
		more := fmt.Sprintf(`{"scroll":"1m","scroll_id":%q}`, page.Scroll)
		page = read[searched](client.Scroll(client.Scroll.WithBody(strings.NewReader(more))))
	}
	statusOf(client.ClearScroll(client.ClearScroll.WithScrollID(page.Scroll)))
	told["scroll"] = scrolled
	pit := read[struct{ Id string }](client.OpenPointInTime([]string{index}, "1m")).Id
	inPit := strings.Replace(inOrder, "{", fmt.Sprintf(`{"pit":{"id":%q},`, pit), 1)
	told["pit"] = read[searched](search(inPit)).ids()
	closing := strings.NewReader(fmt.Sprintf(`{"id":%q}`, pit))
	statusOf(client.ClosePointInTime(client.ClosePointInTime.WithBody(closing)))
	told["not_found"] = errorOf(search(wine, client.Search.WithIndex(index+"-none")))
	told["bad_request"] = errorOf(search(wrong, inIndex))
	told["delete"] = read[struct{ Result string }](client.Delete(index, "1")).Result
	told["drop"] = statusOf(client.Indices.Delete([]string{index}))
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		log.Fatal(err)
	}
}
