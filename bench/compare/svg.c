/* The picture of docs/judge.md: two panels, a line for each rule. */
#include "compare.h"

enum { WIDTH = 860, HEIGHT = 400, PANEL_WIDTH = 350, PANEL_HEIGHT = 220, PANEL_TOP = 64 };

static const char *const colors[RULES_COUNT] = {"#c0392b", "#d68910", "#7d8790", "#2e86c1",
                                                "#1b4f72"};

struct panel {
    const char *title;
    const struct scenario *scenario;
    int left, most_s, step_s;
    double most, step; /* of the share */
};

static double x_of(const struct panel *p, double seconds)
{
    return p->left + seconds / p->most_s * PANEL_WIDTH;
}

static double y_of(const struct panel *p, double share)
{
    return PANEL_TOP + PANEL_HEIGHT * (1 - share / p->most);
}

static void write_frame(FILE *out, const struct panel *p)
{
    fprintf(out, "<text x=\"%d\" y=\"%d\" class=\"title\">%s</text>\n", p->left, PANEL_TOP - 22,
            p->title);
    for (double share = 0; share <= p->most + 1e-9; share += p->step) {
        double y = y_of(p, share);
        fprintf(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>\n",
                p->left, p->left + PANEL_WIDTH, y, y);
        fprintf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.0f %%</text>\n", p->left - 6,
                y + 4, 100 * share);
    }
    for (int s = 0; s <= p->most_s; s += p->step_s)
        fprintf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d s</text>\n", x_of(p, s),
                PANEL_TOP + PANEL_HEIGHT + 18, s);
}

static void write_lines(FILE *out, const struct panel *p)
{
    const struct scenario *s = p->scenario;
    for (int rule = 0; rule < RULES_COUNT; rule++) {
        fprintf(out, "<polyline class=\"rule\" stroke=\"%s\" points=\"", colors[rule]);
        for (int at = 0; at <= p->most_s; at++) {
            double share = scenario_share(s, (enum rule)rule, at * s->requests_per_s);
            fprintf(out, "%s%.1f,%.1f", at == 0 ? "" : " ", x_of(p, at), y_of(p, share));
        }
        fputs("\"/>\n", out);
    }
}

static void write_legend(FILE *out)
{
    for (int rule = 0; rule < RULES_COUNT; rule++) {
        int x = 58 + rule % 3 * 275, y = PANEL_TOP + PANEL_HEIGHT + 50 + rule / 3 * 22;
        fprintf(out,
                "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" class=\"rule\" stroke=\"%s\"/>"
                "<text x=\"%d\" y=\"%d\">%s</text>\n",
                x, x + 22, y, y, colors[rule], x + 30, y + 4, rule_label((enum rule)rule));
    }
}

void svg_write(FILE *out, const struct scenario *good, const struct scenario *bad)
{
    const struct panel panels[] = {
        {"Good releases rolled back (fewer is better)", good, 58, 200, 50, .4, .1},
        {"5 % errors: rolled back (sooner is better)", bad, 486, 60, 10, 1, .25}};
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" "
            "aria-label=\"Share of releases rolled back over time, by rule\">\n"
            "<style>text{font:12px sans-serif;fill:#333}.title{font-size:14px;font-weight:bold}"
            ".grid{stroke:#ddd}.rule{fill:none;stroke-width:2.2}</style>\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    for (int i = 0; i < 2; i++) {
        write_frame(out, &panels[i]);
        write_lines(out, &panels[i]);
    }
    write_legend(out);
    fprintf(
        out,
        "<text x=\"58\" y=\"%d\">%d and %d runs from bench/judge --compare: %d requests/s, %d %% "
        "of them to the new release, 0.5 %% errors in stable.</text>\n</svg>\n",
        HEIGHT - 16, good->runs, bad->runs, good->requests_per_s, COMPARE_SHARE_PERCENT);
}
