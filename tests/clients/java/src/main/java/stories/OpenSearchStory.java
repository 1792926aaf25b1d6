package stories;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import org.apache.hc.core5.http.HttpHost;
import org.opensearch.client.json.JsonData;
import org.opensearch.client.json.jackson.JacksonJsonpMapper;
import org.opensearch.client.opensearch.OpenSearchClient;
import org.opensearch.client.opensearch._types.FieldValue;
import org.opensearch.client.opensearch._types.OpenSearchException;
import org.opensearch.client.opensearch._types.Refresh;
import org.opensearch.client.opensearch._types.query_dsl.Query;
import org.opensearch.client.opensearch.core.BulkRequest;
import org.opensearch.client.opensearch.core.SearchRequest;
import org.opensearch.client.opensearch.core.search.Hit;
import org.opensearch.client.opensearch.core.search.Pit;
import org.opensearch.client.transport.httpclient5.ApacheHttpClient5Options;
import org.opensearch.client.transport.httpclient5.ApacheHttpClient5TransportBuilder;

/** The story with opensearch-java: one line of JSON, what an application sees. See ../../../../../README.md. */
public final class OpenSearchStory {
  private static final Query WINE = Query.of(q -> q.match(m -> m.field("title").query(FieldValue.of("wine"))));
  private static final String TEMPLATE = "{\"query\":{\"match\":{\"title\":\"{{word}}\"}},\"sort\":[\"n\"],\"size\":3}";

  private static List<String> ids(List<Hit<Wine>> hits) {
    return hits.stream().map(Hit::id).toList();
  }

  private static Object errorOf(Callable<?> call) throws Exception {
    try {
      return call.call();
    } catch (OpenSearchException error) {
      return List.of(error.getClass().getSimpleName(), error.status(), error.error().type());
    }
  }

  private static SearchRequest.Builder inOrder(SearchRequest.Builder search) {
    return search.query(WINE).sort(s -> s.field(f -> f.field("n"))).size(3);
  }

  public static void main(String[] args) throws Exception {
    String index = System.getenv("STORY_INDEX");
    Map<String, Object> told = new TreeMap<>();
    HttpHost host = HttpHost.create(System.getenv("STORY_URL"));
    try (var transport = ApacheHttpClient5TransportBuilder.builder(host)
        .setMapper(new JacksonJsonpMapper()).setCompressionEnabled(true).build()) {
      var client = new OpenSearchClient(transport);

      told.put("info", client.info().version().number());
      told.put("ping", client.ping().value());
      told.put("create", client.indices().create(c -> c.index(index).settings(s -> s.numberOfReplicas(0))).acknowledged());
      var bulk = new BulkRequest.Builder().index(index).refresh(Refresh.True);
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
      var off = ApacheHttpClient5Options.DEFAULT.toBuilder().addHeader("X-Rerank", "off").build();
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
      String pit = client.createPit(c -> c.index(index).keepAlive(t -> t.time("1m"))).pitId();
      told.put("pit", ids(client.search(s -> inOrder(s).pit(new Pit.Builder().id(pit).build()), Wine.class).hits().hits()));
      client.deletePit(d -> d.pitId(pit));
      told.put("template", ids(client.searchTemplate(
          t -> t.index(index).source(TEMPLATE).params("word", JsonData.of("wine")), Wine.class).hits().hits()));
      told.put("not_found", errorOf(() -> client.search(s -> s.index(index + "-none"), Wine.class)));
      told.put("bad_request", errorOf(() -> client.search(s -> s.index(index).size(-5), Wine.class)));
      told.put("delete", client.delete(d -> d.index(index).id("1")).result().jsonValue());
      told.put("drop", client.indices().delete(d -> d.index(index)).acknowledged());
    }
    System.out.println(new ObjectMapper().writeValueAsString(told));
  }
}
