package stories;

import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch._types.ElasticsearchException;
import co.elastic.clients.elasticsearch._types.query_dsl.Query;
import co.elastic.clients.elasticsearch.core.BulkRequest;
import co.elastic.clients.elasticsearch.core.SearchRequest;
import co.elastic.clients.elasticsearch.core.search.Hit;
import co.elastic.clients.json.jackson.JacksonJsonpMapper;
import co.elastic.clients.transport.rest5_client.Rest5ClientOptions;
import co.elastic.clients.transport.rest5_client.Rest5ClientTransport;
import co.elastic.clients.transport.rest5_client.low_level.RequestOptions;
import co.elastic.clients.transport.rest5_client.low_level.Rest5Client;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;

/** The story with elasticsearch-java: one line of JSON, what an application sees. See ../../../../../README.md. */
public final class ElasticsearchStory {
  private static final Query WINE = Query.of(q -> q.match(m -> m.field("title").query("wine")));

  private static List<String> ids(List<Hit<Wine>> hits) {
    return hits.stream().map(Hit::id).toList();
  }

  private static Object errorOf(Callable<?> call) throws Exception {
    try {
      return call.call();
    } catch (ElasticsearchException error) {
      return List.of(error.getClass().getSimpleName(), error.status(), error.error().type());
    }
  }

  /** For what this node has not: its main page. */
  private static Object orError(Callable<?> call) {
    try {
      return call.call();
    } catch (Exception error) {
      return error.getClass().getSimpleName();
    }
  }

  private static SearchRequest.Builder inOrder(SearchRequest.Builder search) {
    return search.query(WINE).sort(s -> s.field(f -> f.field("n"))).size(3);
  }

  public static void main(String[] args) throws Exception {
    String index = System.getenv("STORY_INDEX");
    Map<String, Object> told = new TreeMap<>();
    Rest5Client rest =
        Rest5Client.builder(URI.create(System.getenv("STORY_URL"))).setCompressionEnabled(true).build();
    try (var transport = new Rest5ClientTransport(rest, new JacksonJsonpMapper())) {
      var client = new ElasticsearchClient(transport);

      told.put("info", orError(() -> client.info().version().number()));
      told.put("ping", orError(() -> client.ping().value()));
      told.put("create", client.indices().create(c -> c.index(index).settings(s -> s.numberOfReplicas("0"))).acknowledged());
      var bulk = new BulkRequest.Builder().index(index).refresh(co.elastic.clients.elasticsearch._types.Refresh.True);
      for (int n = 0; n < 12; n++) {
        Wine wine = Wine.number(n);
        bulk.operations(o -> o.index(i -> i.id(String.valueOf(wine.n())).document(wine)));
      }
      told.put("bulk", client.bulk(bulk.build()).items().size());
      told.put("get", client.get(g -> g.index(index).id("1"), Wine.class).source().title());
      told.put("exists", List.of(
          client.exists(e -> e.index(index).id("1")).value(), client.exists(e -> e.index(index).id("none")).value()));
      told.put("count", client.count(c -> c.index(index)).count());
      told.put("search", ids(client.search(s -> s.index(index).query(WINE).size(12), Wine.class).hits().hits()));
      var off = new Rest5ClientOptions(RequestOptions.DEFAULT.toBuilder().addHeader("X-Rerank", "off").build(), false);
      told.put("opted_out", ids(client.withTransportOptions(off)
          .search(s -> s.index(index).query(WINE).size(12), Wine.class).hits().hits()));
      var responses = client.msearch(m -> m.index(index)
          .searches(s -> s.header(h -> h).body(b -> b.query(WINE).sort(o -> o.field(f -> f.field("n"))).size(3)))
          .searches(s -> s.header(h -> h.index(index + "-none")).body(b -> b.query(WINE))), Wine.class).responses();
      told.put("msearch", List.of(ids(responses.get(0).result().hits().hits()), responses.get(1).failure().status()));
      List<String> scrolled = new ArrayList<>();
      var page = client.search(s -> inOrder(s.index(index)).scroll(t -> t.time("1m")), Wine.class);
      List<Hit<Wine>> hits = page.hits().hits();
      String scroll = page.scrollId();
      while (!hits.isEmpty()) {
        scrolled.addAll(ids(hits));
        String last = scroll;
        var next = client.scroll(s -> s.scrollId(last).scroll(t -> t.time("1m")), Wine.class);
        hits = next.hits().hits();
        scroll = next.scrollId();
      }
      String end = scroll;
      client.clearScroll(c -> c.scrollId(end));
      told.put("scroll", scrolled);
      String pit = client.openPointInTime(o -> o.index(index).keepAlive(t -> t.time("1m"))).id();
      told.put("pit", ids(client.search(s -> inOrder(s).pit(p -> p.id(pit)), Wine.class).hits().hits()));
      client.closePointInTime(c -> c.id(pit));
      told.put("not_found", errorOf(() -> client.search(s -> s.index(index + "-none"), Wine.class)));
      told.put("bad_request", errorOf(() -> client.search(s -> s.index(index).size(-5), Wine.class)));
      told.put("delete", client.delete(d -> d.index(index).id("1")).result().jsonValue());
      told.put("drop", client.indices().delete(d -> d.index(index)).acknowledged());
    }
    System.out.println(new ObjectMapper().writeValueAsString(told));
  }
}
