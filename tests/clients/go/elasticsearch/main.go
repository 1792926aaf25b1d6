// The story with go-elasticsearch's typed client: one line of JSON, what an application sees. See ../../README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types"
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

func ids(hits []types.Hit) []string {
	found := []string{}
	for _, hit := range hits {
		found = append(found, *hit.Id_)
	}
	return found
}

func errorOf(err error) []any {
	var known *types.ElasticsearchError
	if !errors.As(err, &known) {
		return []any{fmt.Sprint(err)}
	}
	return []any{fmt.Sprintf("%T", known), known.Status, known.ErrorCause.Type}
}

func main() {
	index, ctx := os.Getenv("STORY_INDEX"), context.Background()
	client := must(elasticsearch.NewTypedClient(elasticsearch.Config{
		Addresses: []string{os.Getenv("STORY_URL")}, CompressRequestBody: true,
	}))
	search := func(body string) *types.HitsMetadata {
		return &must(client.Search().Index(index).Raw(strings.NewReader(body)).Do(ctx)).Hits
	}
	told := map[string]any{}

	// this node has no main page
	_, err := client.Info().Do(ctx)
	told["info"] = errorOf(err)
	_, err = client.Ping().Do(ctx)
	told["ping"] = errorOf(err)
	settings := strings.NewReader(`{"settings":{"number_of_replicas":0}}`)
	told["create"] = must(client.Indices.Create(index).Raw(settings).Do(ctx)).Acknowledged
	bulk := client.Bulk().Index(index)
	for n := range 12 {
		id := fmt.Sprint(n)
		document := map[string]any{"title": "wine" + strings.Repeat(" and water", n), "n": n}
		if err := bulk.IndexOp(types.IndexOperation{Id_: &id}, document); err != nil {
			log.Fatal(err)
		}
	}
	told["bulk"] = len(must(bulk.Do(ctx)).Items)
	must(client.Indices.Refresh().Index(index).Do(ctx))
	var document struct{ Title string }
	if err := json.Unmarshal(must(client.Get(index, "1").Do(ctx)).Source_, &document); err != nil {
		log.Fatal(err)
	}
	told["get"] = document.Title
	told["exists"] = []bool{must(client.Exists(index, "1").Do(ctx)), must(client.Exists(index, "none").Do(ctx))}
	told["count"] = must(client.Count().Index(index).Do(ctx)).Count
	told["search"] = ids(search(wine).Hits)
	optedOut := client.Search().Index(index).Raw(strings.NewReader(wine)).Header("X-Rerank", "off")
	told["opted_out"] = ids(must(optedOut.Do(ctx)).Hits.Hits)
	lines := strings.NewReader("{}\n" + inOrder + "\n{\"index\":\"" + index + "-none\"}\n" + wine + "\n")
	responses := must(client.Msearch().Index(index).Raw(lines).Do(ctx)).Responses
	first, second := responses[0].(*types.MultiSearchItem), responses[1].(*types.ErrorResponseBase)
	told["msearch"] = []any{ids(first.Hits.Hits), second.Status}
	scrolled := []string{}
	page := must(client.Search().Index(index).Scroll("1m").Raw(strings.NewReader(inOrder)).Do(ctx))
	hits, scroll := page.Hits.Hits, *page.ScrollId_
	for len(hits) > 0 {
		scrolled = append(scrolled, ids(hits)...)
		more := strings.NewReader(fmt.Sprintf(`{"scroll":"1m","scroll_id":%q}`, scroll))
		next := must(client.Scroll().Raw(more).Do(ctx))
		hits, scroll = next.Hits.Hits, *next.ScrollId_
	}
	must(client.ClearScroll().ScrollId(scroll).Do(ctx))
	told["scroll"] = scrolled
	pit := must(client.OpenPointInTime(index).KeepAlive("1m").Do(ctx)).Id
	inPit := strings.Replace(inOrder, "{", fmt.Sprintf(`{"pit":{"id":%q},`, pit), 1)
	told["pit"] = ids(must(client.Search().Raw(strings.NewReader(inPit)).Do(ctx)).Hits.Hits)
	must(client.ClosePointInTime().Id(pit).Do(ctx))
	_, err = client.Search().Index(index + "-none").Raw(strings.NewReader(wine)).Do(ctx)
	told["not_found"] = errorOf(err)
	_, err = client.Search().Index(index).Raw(strings.NewReader(wrong)).Do(ctx)
	told["bad_request"] = errorOf(err)
	told["delete"] = must(client.Delete(index, "1").Do(ctx)).Result.String()
	told["drop"] = must(client.Indices.Delete(index).Do(ctx)).Acknowledged
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		log.Fatal(err)
	}
}
