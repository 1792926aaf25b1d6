// The story with opensearch-go: one line of JSON, what an application sees. See ../../README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/opensearch-project/opensearch-go/v4"
	"github.com/opensearch-project/opensearch-go/v4/opensearchapi"
)

const (
	wine    = `{"query":{"match":{"title":"wine"}},"size":12}`
	inOrder = `{"query":{"match":{"title":"wine"}},"sort":["n"],"size":3}`
	wrong   = `{"query":{"none":{}}}`
)

// must ends the program where the story does not go on.
func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func ids(hits []opensearchapi.SearchHit) []string {
	found := []string{}
	for _, hit := range hits {
		found = append(found, hit.ID)
	}
	return found
}

func errorOf(err error) []any {
	var known *opensearch.StructError
	if !errors.As(err, &known) {
		return []any{fmt.Sprint(err)}
	}
	return []any{fmt.Sprintf("%T", known), known.Status, known.Err.Type}
}

func main() {
	index, ctx := os.Getenv("STORY_INDEX"), context.Background()
	here := []string{index}
	client := must(opensearchapi.NewClient(opensearchapi.Config{Client: opensearch.Config{
		Addresses: []string{os.Getenv("STORY_URL")}, CompressRequestBody: true,
	}}))
	search := func(req opensearchapi.SearchReq) []string {
		return ids(must(client.Search(ctx, &req)).Hits.Hits)
	}
	told := map[string]any{}

	told["info"] = must(client.Info(ctx, nil)).Version.Number
	told["ping"] = must(client.Ping(ctx, nil)).StatusCode == http.StatusOK
	settings := strings.NewReader(`{"settings":{"number_of_replicas":0}}`)
	told["create"] = must(client.Indices.Create(ctx, opensearchapi.IndicesCreateReq{Index: index, Body: settings})).Acknowledged
	lines := ""
	for n := range 12 {
		title := "wine" + strings.Repeat(" and water", n)
		lines += fmt.Sprintf("{\"index\":{\"_id\":\"%d\"}}\n{\"title\":\"%s\",\"n\":%d}\n", n, title, n)
	}
	bulk := opensearchapi.BulkReq{
		Index: index, Body: strings.NewReader(lines), Params: opensearchapi.BulkParams{Refresh: "true"},
	}
	told["bulk"] = len(must(client.Bulk(ctx, bulk)).Items)
	var document struct{ Title string }
	got := must(client.Document.Get(ctx, opensearchapi.DocumentGetReq{Index: index, DocumentID: "1"}))
	if err := json.Unmarshal(got.Source, &document); err != nil {
		log.Fatal(err)
	}
	told["get"] = document.Title
	exists := func(id string) int { // a 404 is told as an error too
		answer, _ := client.Document.Exists(ctx, opensearchapi.DocumentExistsReq{Index: index, DocumentID: id})
		return answer.StatusCode
	}
	told["exists"] = []int{exists("1"), exists("none")}
	told["count"] = must(client.Indices.Count(ctx, &opensearchapi.IndicesCountReq{Indices: here})).Count
	told["search"] = search(opensearchapi.SearchReq{Indices: here, Body: strings.NewReader(wine)})
	told["opted_out"] = search(opensearchapi.SearchReq{
		Indices: here, Body: strings.NewReader(wine), Header: http.Header{"X-Rerank": {"off"}},
	})
	searches := strings.NewReader("{}\n" + inOrder + "\n{\"index\":\"" + index + "-none\"}\n" + wine + "\n")
	responses := must(client.MSearch(ctx, opensearchapi.MSearchReq{Indices: here, Body: searches})).Responses
	told["msearch"] = []any{ids(responses[0].Hits.Hits), responses[1].Status}
	scrolled := []string{}
	page := must(client.Search(ctx, &opensearchapi.SearchReq{
		Indices: here, Body: strings.NewReader(inOrder), Params: opensearchapi.SearchParams{Scroll: time.Minute},
	}))
	hits, scroll := page.Hits.Hits, *page.ScrollID
	for len(hits) > 0 {
		scrolled = append(scrolled, ids(hits)...)
		next := must(client.Scroll.Get(ctx, opensearchapi.ScrollGetReq{
			ScrollID: scroll, Params: opensearchapi.ScrollGetParams{Scroll: time.Minute},
		}))
		hits, scroll = next.Hits.Hits, *next.ScrollID
	}
	must(client.Scroll.Delete(ctx, opensearchapi.ScrollDeleteReq{ScrollIDs: []string{scroll}}))
	told["scroll"] = scrolled
	pit := must(client.PointInTime.Create(ctx, opensearchapi.PointInTimeCreateReq{
		Indices: here, Params: opensearchapi.PointInTimeCreateParams{KeepAlive: time.Minute},
	})).PitID
	inPit := strings.Replace(inOrder, "{", fmt.Sprintf(`{"pit":{"id":%q},`, pit), 1)
	told["pit"] = search(opensearchapi.SearchReq{Body: strings.NewReader(inPit)})
	must(client.PointInTime.Delete(ctx, opensearchapi.PointInTimeDeleteReq{PitID: []string{pit}}))
	template := `{"source":{"query":{"match":{"title":"{{word}}"}},"sort":["n"],"size":3},"params":{"word":"wine"}}`
	rendered := must(client.SearchTemplate(ctx, opensearchapi.SearchTemplateReq{
		Indices: here, Body: strings.NewReader(template),
	}))
	told["template"] = ids(rendered.Hits.Hits)
	_, err := client.Search(ctx, &opensearchapi.SearchReq{Indices: []string{index + "-none"}})
	told["not_found"] = errorOf(err)
	_, err = client.Search(ctx, &opensearchapi.SearchReq{Indices: here, Body: strings.NewReader(wrong)})
	told["bad_request"] = errorOf(err)
	told["delete"] = must(client.Document.Delete(ctx, opensearchapi.DocumentDeleteReq{Index: index, DocumentID: "1"})).Result
	told["drop"] = must(client.Indices.Delete(ctx, opensearchapi.IndicesDeleteReq{Indices: here})).Acknowledged
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		log.Fatal(err)
	}
}
