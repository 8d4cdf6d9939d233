/* The two small static programs, as bytes inside the main binary (see cli/embedded.h). */
    .section .rodata
    .global embedded_shim, embedded_shim_end, embedded_guardian, embedded_guardian_end
    .balign 16
embedded_shim:
    .incbin SHIM_FILE
embedded_shim_end:
    .balign 16
embedded_guardian:
    .incbin GUARDIAN_FILE
embedded_guardian_end:
    .section .note.GNU-stack,"",@progbits
